"""Converts values between Python and the component's types. A value of the wrong type is a TypeError or ValueError."""

from wasmtime.component import U64, EnumType, ListType, OptionType, Record, RecordType, Variant


def lower(kind, value, name):
    """Converts an argument. A dict may omit optional fields. An unknown key is refused instead of ignored."""
    if isinstance(kind, OptionType):
        return None if value is None else lower(kind.payload, value, name)
    if isinstance(kind, RecordType):
        return record(kind, value, name)
    if isinstance(kind, ListType):
        # Not any iterable: a string would become a list of letters, and an empty string would turn all checks off.
        require(value, (list, tuple), name)
        return [lower(kind.element, item, name) for item in value]
    if isinstance(kind, U64):
        require(value, int, name)
        # wasmtime-py would keep only the lowest 64 bits.
        if isinstance(value, bool) or not 0 <= value < 1 << 64:
            raise ValueError(f"{name} must be an unsigned 64-bit integer, not {value}")
        return value
    require(value, str, name)  # The parameters of the interface have no other types.
    if isinstance(kind, EnumType) and value not in kind.names:
        raise ValueError(f"{name} must be one of {', '.join(kind.names)}, not {value!r}")
    value.encode()  # Raises a ValueError for a lone surrogate.
    return value


def record(kind, value, name):
    require(value, dict, name)
    fields = {field.replace("-", "_"): (field, inner) for field, inner in kind.fields}
    if unknown := value.keys() - fields:
        raise TypeError(f"{name} has no field {', '.join(map(str, unknown))}; its fields are {', '.join(fields)}")
    lowered = Record()
    for key, (field, inner) in fields.items():
        setattr(lowered, field, lower(inner, value.get(key), f"{name}.{key}"))
    return lowered


def require(value, kind, name):
    if not isinstance(value, kind):  # The message does not show the value, which may be a token.
        expected = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise TypeError(f"{name} must be {expected}, not {type(value).__name__}")


def lift(value):
    """Converts a result. A record becomes a dict, and a case of a variant its name."""
    if isinstance(value, Record):
        fields = {name.replace("-", "_"): lift(item) for name, item in vars(value).items()}
        # The only case with a payload is `invalid` of an error, and the payload is the parameter's name.
        if isinstance(kind := fields.get("kind"), tuple):
            fields["kind"], fields["parameter"] = kind
        return fields
    if isinstance(value, Variant):
        return value.tag if value.payload is None else (value.tag, lift(value.payload))
    return [lift(item) for item in value] if isinstance(value, list) else value
