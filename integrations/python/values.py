"""Values between Python and the component's types. A mistake of the caller is a TypeError or ValueError before any call."""

from wasmtime.component import U64, EnumType, ListType, OptionType, Record, RecordType, Variant


def lower(kind, value, name):
    """A parameter. A dict may leave out what is optional; an unknown key is refused, not ignored."""
    if isinstance(kind, OptionType):
        return None if value is None else lower(kind.payload, value, name)
    if isinstance(kind, RecordType):
        return record(kind, value, name)
    if isinstance(kind, ListType):
        # Nothing else that can be iterated: of a text that would be the letters, and of an empty one no checks at all.
        require(value, (list, tuple), name)
        return [lower(kind.element, item, name) for item in value]
    if isinstance(kind, U64):
        require(value, int, name)
        # wasmtime-py would cut it to its lowest 64 bits.
        if isinstance(value, bool) or not 0 <= value < 1 << 64:
            raise ValueError(f"{name} is {value}, which is no unsigned number of 64 bits")
        return value
    require(value, str, name)  # The contract's parameters have no other types.
    if isinstance(kind, EnumType) and value not in kind.names:
        raise ValueError(f"{name} is one of {', '.join(kind.names)}, not {value!r}")
    value.encode()  # A lone surrogate is no text.
    return value


def record(kind, value, name):
    require(value, dict, name)
    fields = {field.replace("-", "_"): (field, inner) for field, inner in kind.fields}
    if unknown := value.keys() - fields:
        raise TypeError(f"{name} has no {', '.join(map(str, unknown))}; there are {', '.join(fields)}")
    lowered = Record()
    for key, (field, inner) in fields.items():
        setattr(lowered, field, lower(inner, value.get(key), f"{name}.{key}"))
    return lowered


def require(value, kind, name):
    if not isinstance(value, kind):  # The value itself is not shown: it may be a token.
        wanted = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise TypeError(f"{name} takes {wanted}, not {type(value).__name__}")


def lift(value):
    """A result. Records become dicts, cases of a variant their name."""
    if isinstance(value, Record):
        fields = {name.replace("-", "_"): lift(item) for name, item in vars(value).items()}
        # The contract's one case with a value is an error's `invalid`, and the value the parameter.
        if isinstance(kind := fields.get("kind"), tuple):
            fields["kind"], fields["parameter"] = kind
        return fields
    if isinstance(value, Variant):
        return value.tag if value.payload is None else (value.tag, lift(value.payload))
    return [lift(item) for item in value] if isinstance(value, list) else value
