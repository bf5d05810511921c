"""Converts values between Python and the component's types. A value of the wrong type is a TypeError or ValueError."""

import ctypes

from wasmtime import _ffi
from wasmtime.component import U64, EnumType, ListType, OptionType, Record, RecordType, Variant


def lower_all(parameters, values, function):
    """Converts the arguments of a function."""
    if len(values) != len(parameters):
        names = ", ".join(parameter for parameter, _ in parameters)
        raise TypeError(f"wrong number of arguments for {function}({names}): {len(values)}")
    return [lower(kind, value, parameter) for (parameter, kind), value in zip(parameters, values)]


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


def lift_result(result):
    """Returns whether a function failed, and its value or error."""
    # wasmtime-py drops the tag of a result if the Python types of its two cases differ. Here this happens for functions
    # that return a string, a list or nothing, so a record without a tag is an error.
    if isinstance(result, Variant):
        return result.tag == "err", lift(result.payload)
    return isinstance(result, Record), lift(result)


def set_body(response, body):
    """Fills the empty `body` of a `result<response, …>`, 64 KiB at a time."""
    value, record = _ffi.wasmtime_component_val_t, response.of.result.val.contents.of.record
    field = next(field for field in record.data[: record.size] if _ffi.to_str(field.name) == "body")
    items, size = field.val.of.list, ctypes.sizeof(value)
    _ffi.wasmtime_component_vallist_delete(ctypes.byref(items))
    _ffi.wasmtime_component_vallist_new_uninit(ctypes.byref(items), len(body))
    for start in range(0, len(body), 1 << 16):
        part = body[start : start + (1 << 16)]
        values = bytearray(size * len(part))
        values[value.kind.offset :: size] = bytes([_ffi.WASMTIME_COMPONENT_U8.value]) * len(part)
        values[value.of.offset :: size] = part
        address = ctypes.addressof(items.data.contents) + size * start
        ctypes.memmove(address, bytes(values), len(values))
