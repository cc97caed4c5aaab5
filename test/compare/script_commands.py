"""Random calls of the libraries that scripts have: cjson, cmsgpack, struct, bit.

Each is one EVAL of an expression; what it gives, or the error that it raises, comes back as one
text in which tables have their pairs sorted. Tables of several pairs that are no arrays are made
only where their order does not show.
"""

_SHOW = r'''
local function show(v, depth)
  local kind = type(v)
  if kind == 'number' then return string.format('%.17g', v) end
  if kind == 'string' then
    return '"' .. string.gsub(v, '.', function(c) return string.format('%02x', string.byte(c)) end)
  end
  if kind ~= 'table' then return kind == 'userdata' and kind or tostring(v) end
  if depth > 20 then return 'deep' end
  local pairs_shown = {}
  for k, x in pairs(v) do
    pairs_shown[#pairs_shown + 1] = show(k, depth + 1) .. '=' .. show(x, depth + 1)
  end
  table.sort(pairs_shown)
  return '{' .. table.concat(pairs_shown, ',') .. '}'
end
local function all(...)
  local shown = {}
  for i = 1, select('#', ...) do shown[i] = show((select(i, ...)), 0) end
  return table.concat(shown, ' ')
end
return all(pcall(function() return EXPRESSION end))'''

_EDGES = ["1e300", "-1e300", "0", "-0", "0.1", "1e15", "1e14", "123456789012345",
          "3.14159265358979", "(1/0)", "(-1/0)"]
_JSON_WORDS = ["true", "false", "null", "nan", "NaN", "inf", "-Infinity", "infinity", "0x1F", "01",
               "-", "1e5", "1E+3", "-0", ".5", "5.", "1e999", "nul", "tru"]
_JSON_PIECES = ["a", "b", "\u00e9", "\\n", "\\u0041", "\\u00e9", "\\ud83d\\ude00", "\\ud83d",
                "\\u0000", "\\/", "\\x", "\t", "\\u12", "\\\\"]
_FORMATS = ["b", "B", "h", "H", "l", "L", "T", "i", "I", "f", "d", "x", "s", "c", ">", "<", "!",
            " ", "z", "c0", "i9", "Bc0"]
_PACKED_TYPES = [0x80, 0x81, 0x90, 0x91, 0x93, 0xa0, 0xa3, *range(0xc0, 0xc5), *range(0xca, 0xd4),
                 *range(0xd9, 0xe0), 1, 5, 0xff, 0xe0]
_BIT_CALLS = ["tobit", "bnot", "band", "bor", "bxor", "lshift", "rshift", "arshift", "rol", "ror",
              "bswap", "tohex"]


def _literal(data):
    return '"' + "".join("\\%03d" % b for b in data) + '"'


def _bytes(rng):
    long = rng.random() < 0.1
    size = rng.choice([31, 32, 33, 255, 256, 257]) if long else rng.randrange(12)
    if rng.random() < 0.6:
        return bytes(rng.choice(b'abc xyz"\\/\n\t\x7f') for _ in range(size))
    return rng.randbytes(size)


def _number(rng):
    return rng.choice([
        lambda: str(rng.randrange(-140, 300)),
        lambda: str(rng.choice([1, -1]) * 2 ** rng.choice([7, 8, 15, 16, 31, 32, 52, 53, 62, 63,
                                                           64, 65]) + rng.choice([-1, 0, 1])),
        lambda: repr(rng.uniform(-1000, 1000)),
        lambda: repr(rng.uniform(-1, 1) * 10 ** rng.randrange(-320, 308)),
        lambda: str(rng.randrange(-2 ** 63, 2 ** 63)),
        lambda: repr(rng.randrange(-5000, 5000) / 16),
        lambda: rng.choice(_EDGES),
    ])()


def _value(rng, depth=0):
    kind = rng.randrange(10)
    if kind < 3:
        return _number(rng)
    if kind < 5:
        return _literal(_bytes(rng))
    if kind == 5 or depth > 4:
        return rng.choice(["true", "false", "nil", "cjson.null"])
    if kind < 8:
        count = rng.choice([0, 1, 2, 3, 15, 16, 17]) if depth == 0 else rng.randrange(4)
        return "{" + ",".join(_value(rng, depth + 1) for _ in range(count)) + "}"
    if kind == 8:
        key = rng.choice([_literal(_bytes(rng)), _number(rng), "true", "1", "2", "11", "21"])
        return "{[%s]=%s}" % (key, _value(rng, depth + 1))
    return "{1,nil,%s}" % _value(rng, depth + 1)


def _values(rng):
    return ",".join(_value(rng) for _ in range(rng.randrange(0 if rng.random() < 0.1 else 1, 4)))


def _format(rng):
    """A format of struct, and arguments that mostly fit it."""
    text, args = "", []
    for _ in range(rng.randrange(6)):
        option = rng.choice(_FORMATS)
        if option in "iI!c" and rng.random() < 0.6:
            option += str(rng.randrange(36) if rng.random() < 0.2 else rng.randrange(1, 17))
        text += option
        args += [_number(rng) for c in option if c in "bBhHlLTiIfd"]
        args += [_literal(_bytes(rng)) for c in option if c in "sc"]
    if args and rng.random() < 0.05:
        args.pop()
    return _literal(text.encode()), args


def _pack(rng):
    text, args = _format(rng)
    return "struct.pack(%s)" % ",".join([text, *args])


def _unpack(rng):
    text, args = _format(rng)
    if rng.random() < 0.5:
        return "struct.unpack(%s,struct.pack(%s))" % (text, ",".join([text, *args]))
    at = rng.choice(["", "", ",1", ",2", ",0", ",-1", ",100"])
    return "struct.unpack(%s,%s%s)" % (text, _literal(_bytes(rng)), at)


def _unpack_message(rng):
    data = _bytes(rng)
    if rng.random() < 0.7:
        data = bytes([rng.choice(_PACKED_TYPES)]) + bytes(
            rng.choice([0, 0, 0, 1, 2, 0xff, 0x80, 0xc0, 0x91, 0x7f])
            for _ in range(rng.randrange(12)))
    numbers = [str(rng.randrange(-1, 5)) for _ in range(rng.randrange(3))]
    call = rng.choice(["unpack", "unpack_one", "unpack_limit"])
    return "cmsgpack.%s(%s)" % (call, ",".join([_literal(data), *numbers]))


def _json(rng, depth=0):
    kind = rng.randrange(9)
    blank = rng.choice(["", "", " ", "\n\t"])
    if kind == 0:
        return rng.choice(_JSON_WORDS)
    if kind < 3:
        return _number(rng).strip("()")
    if kind < 5:
        return '"' + "".join(rng.choice(_JSON_PIECES) if rng.random() < 0.5 else "z"
                             for _ in range(rng.randrange(5))) + '"'
    if depth > 5:
        return "[]"
    count = rng.randrange(4)
    if kind < 7:
        return "[" + ("," + blank).join(_json(rng, depth + 1) for _ in range(count)) + blank + "]"
    return "{" + ",".join('"k%d"%s:%s' % (i, blank, _json(rng, depth + 1))
                          for i in range(count)) + "}"


def _decode(rng):
    text = _json(rng)
    if rng.random() < 0.2:
        text = text[:rng.randrange(len(text) + 1)]
    return "cjson.decode(%s)" % _literal(text.encode())


def _bits(rng):
    def argument():
        return str(rng.choice([rng.randrange(-2 ** 33, 2 ** 33), rng.randrange(64), "0.5", '"12"',
                               '"x"', -1, 2 ** 31]))
    call = rng.choice(_BIT_CALLS)
    count = 1 if call in ("tobit", "bnot", "bswap") else rng.choice([1, 2, 2, 3])
    return "bit.%s(%s)" % (call, ",".join(argument() for _ in range(count)))


_EXPRESSIONS = [
    _pack, _unpack, _unpack_message, _decode, _bits,
    lambda rng: "struct.size(%s)" % _format(rng)[0],
    lambda rng: "cmsgpack.pack(%s)" % _values(rng),
    lambda rng: "cmsgpack.unpack(cmsgpack.pack(%s))" % _values(rng),
    lambda rng: "cjson.encode(%s)" % _value(rng),
    lambda rng: "cjson.decode(cjson.encode(%s))" % _value(rng),
]


def libraries(rng):
    return ["EVAL", _SHOW.replace("EXPRESSION", rng.choice(_EXPRESSIONS)(rng)), "0"]


FAMILIES = {"script-libraries": libraries}
