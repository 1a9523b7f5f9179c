-- What scripts are given instead of Envoy's userdata: objects with its methods, its words when they are used wrongly,
-- and its rule that none lives longer than the call that it was made in.
--
-- Envoy: BaseLuaObject, LuaRef, LuaDeathRef (source/extensions/filters/common/lua/lua.h).
--
-- An object is a userdata with the metatable of its class; what it knows is in a record, which is the userdata's
-- environment. Methods ask the host, which is Python: a function there answers true and values, or false and the
-- message of an error. Errors are raised here, so that they tell the line of the script.

local type, select, error, tostring, unpack = type, select, error, tostring, unpack
local getfenv, setfenv, getinfo = debug.getfenv, debug.setfenv, debug.getinfo
local format, newproxy, getmetatable = string.format, newproxy, getmetatable

-- Scripts have no business with Python.
python = nil
package.loaded.python = nil

-- LuaJIT as Envoy builds it has some of Lua 5.2.
local raw_pairs, raw_ipairs = pairs, ipairs
function pairs(...)
  local meta = getmetatable((...))
  local own = type(meta) == "table" and meta.__pairs
  if own then
    return own(...)
  end
  return raw_pairs(...)
end
function ipairs(...)
  local meta = getmetatable((...))
  local own = type(meta) == "table" and meta.__ipairs
  if own then
    return own(...)
  end
  return raw_ipairs(...)
end
rawlen = rawlen or function(value)
  if type(value) ~= "table" and type(value) ~= "string" then
    error("table or string expected", 2)
  end
  return #value
end
table.pack = table.pack or function(...)
  return { n = select("#", ...), ... }
end
table.unpack = table.unpack or unpack

local CLASS = {}
local M = {}

-- -- what is said of arguments

-- The method that is running is `level` calls up.
local function argument_error(level, index, problem)
  local info = getinfo(level, "n")
  if info.namewhat == "method" then
    index = index - 1
    if index == 0 then
      error(format("calling '%s' on bad self (%s)", info.name, problem), level + 1)
    end
  end
  error(format("bad argument #%d to '%s' (%s)", index, info.name or "?", problem), level + 1)
end

local function got(index, ...)
  return index > select("#", ...) and "no value" or type((select(index, ...)))
end

local function expect(level, index, wanted, found)
  argument_error(level + 1, index, format("%s expected, got %s", wanted, found))
end

function M.string(index, ...)
  local value = select(index, ...)
  local kind = type(value)
  if kind == "string" then
    return value
  elseif kind == "number" then
    return value .. ""
  end
  expect(3, index, "string", got(index, ...))
end

-- A string that C++ takes as one that ends with its first NUL.
function M.c_string(index, ...)
  local value = select(index, ...)
  local kind = type(value)
  if kind == "number" then
    value = value .. ""
  elseif kind ~= "string" then
    expect(3, index, "string", got(index, ...))
  end
  local nul = value:find("\0", 1, true)
  return nul and value:sub(1, nul - 1) or value
end

function M.optional_string(index, ...)
  local value = select(index, ...)
  local kind = type(value)
  if value == nil or kind == "string" then
    return value
  elseif kind == "number" then
    return value .. ""
  end
  expect(3, index, "string", got(index, ...))
end

function M.number(index, ...)
  local value = select(index, ...)
  local number = type(value) ~= "table" and tonumber(value) or nil
  if type(value) == "number" or (type(value) == "string" and number) then
    return number
  end
  expect(3, index, "number", got(index, ...))
end

-- As C makes an int of a double.
function M.integer(index, ...)
  local value = select(index, ...)
  local number = tonumber(value)
  if (type(value) == "number" or type(value) == "string") and number then
    return number < 0 and math.ceil(number) or math.floor(number)
  end
  expect(3, index, "number", got(index, ...))
end

function M.typed(index, wanted, ...)
  local found = got(index, ...)
  if found ~= wanted then
    expect(3, index, wanted, found)
  end
  return (select(index, ...))
end

-- A value within a table, which has a place of its own on the stack.
function M.element(index, value)
  local kind = type(value)
  if kind == "number" then
    return value .. ""
  elseif kind ~= "string" then
    expect(4, index, "string", kind)
  end
  return value
end

function M.argument_error(level, index, problem)
  argument_error(level + 1, index, problem)
end

-- -- objects

local logs = {}

-- A class by its C++ name, which errors tell; methods are functions of all arguments, the object first.
function M.class(name, methods)
  local template = newproxy(true)
  local meta = getmetatable(template)
  for key, method in raw_pairs(methods) do
    meta[key] = method
  end
  meta.__index = meta
  local class = { name = name, template = template }
  for level = 1, #logs do
    local word, write = unpack(logs[level])
    meta[word] = function(...)
      M.this(class, ...)
      write(M.string(2, ...))
    end
  end
  return class
end

-- For the log: pairs of a method's name and what it does; before the first class is made.
function M.log_with(...)
  logs = { ... }
end

-- An object of a class, and its record; it dies with its parent, unless that has died already.
function M.create(class, parent, record)
  local object = newproxy(class.template)
  record[CLASS] = class
  setfenv(object, record)
  if parent then
    local kids = parent.kids
    if not kids then
      kids = {}
      parent.kids = kids
    end
    kids[#kids + 1] = record
  end
  return object
end

-- The record of the object that a method is called with.
function M.this(class, ...)
  local self = ...
  local record = type(self) == "userdata" and getfenv(self) or nil
  if record == nil or record[CLASS] ~= class then
    argument_error(3, 1, format("%s expected, got %s", class.name, got(1, ...)))
  end
  if record.dead then
    error("object used outside of proper scope", 3)
  end
  return record
end

-- The object that an object gives each time it is asked for `name`.
function M.kid(record, name, make, ...)
  local known = record.known
  if not known then
    known = {}
    record.known = known
  end
  local object = known[name]
  if object == nil then
    object = make(record, ...)
    known[name] = object
  end
  return object
end

local function bury(record)
  record.dead = true
  record.known = nil
  record.iterating = nil
  local kids = record.kids
  if kids then
    record.kids = nil
    for at = 1, #kids do
      bury(kids[at])
    end
  end
end
M.bury = bury

-- -- maps that can be iterated over once at a time

function M.pairs_of(record, items)
  if record.iterating then
    error("cannot create a second iterator before completing the first", 3)
  end
  local mark, at = {}, -1
  record.iterating = mark
  return function()
    if record.iterating ~= mark then
      error("object used outside of proper scope", 2)
    end
    at = at + 2
    if at > items.n then
      record.iterating = nil
      return
    end
    return items[at], items[at + 1]
  end
end

-- -- values of metadata, which the host tells as a list of tokens

local function decode(tokens, at)
  local token = tokens[at]
  if token == "{" then
    local made, count = {}, tokens[at + 1]
    at = at + 2
    for _ = 1, count do
      local key, value = tokens[at], nil
      value, at = decode(tokens, at + 1)
      made[key] = value
    end
    return made, at
  elseif token == "[" then
    local made, count = {}, tokens[at + 1]
    at = at + 2
    for index = 1, count do
      local value
      value, at = decode(tokens, at)
      made[index] = value
    end
    return made, at
  elseif token == "'" then
    return tokens[at + 1], at + 2
  end
  return token, at + 1
end

function M.decode(...)
  local value = decode({ ... }, 1)
  return value
end

-- The length of a table that is a list, -1 for one that is not.
local function list_length(value)
  local longest = 0
  for key in raw_pairs(value) do
    if type(key) ~= "number" or key < 1 or math.floor(key) ~= key then
      return -1
    end
    longest = key > longest and key or longest
  end
  return longest
end

local function encode(tokens, value, level)
  local kind = type(value)
  if kind == "string" then
    tokens[#tokens + 1] = "'"
    tokens[#tokens + 1] = value:match("^[^%z]*")
  elseif kind == "number" or kind == "boolean" then
    tokens[#tokens + 1] = value
  elseif kind == "nil" then
    tokens[#tokens + 1] = "n"
  elseif kind == "table" then
    local length = list_length(value)
    tokens[#tokens + 1] = length > 0 and "[" or "{"
    local mark = #tokens + 1
    tokens[mark] = 0
    if length > 0 then
      tokens[mark] = length
      for index = 1, length do
        encode(tokens, rawget(value, index), level + 1)
      end
    else
      for key, each in raw_pairs(value) do
        if type(key) ~= "string" then
          local problem = "unexpected type %s in table key (only string keys are supported)"
          error(format(problem, type(key)), level)
        end
        tokens[mark] = tokens[mark] + 1
        tokens[#tokens + 1] = key
        encode(tokens, each, level + 1)
      end
    end
  else
    error(format("unexpected type '%s' in dynamicMetadata", kind), level)
  end
  return tokens
end

-- Raises in the name of the method that calls.
function M.encode(value)
  local tokens = encode({}, value, 4)
  return tokens
end

-- -- coroutines

local create, resume, status = coroutine.create, coroutine.resume, coroutine.status

-- Let a script go on. True and whether it has come to its end, or false and the message of its error.
function M.run(record, ...)
  record.dead = false
  local fine, problem = resume(record.coroutine, ...)
  local over = not fine or status(record.coroutine) == "dead"
  bury(record)
  if over then
    record.coroutine = nil
  end
  if fine then
    return true, over
  end
  return false, type(problem) == "string" and problem or type(problem) == "number" and problem .. "" or
    "unspecified lua error"
end

function M.begin(record, start)
  record.coroutine = create(start)
end

-- Load a script: true, or false and what is wrong with it.
function M.load(code)
  local chunk, problem = loadstring(code)
  if not chunk then
    return false, problem
  end
  local fine, raised = pcall(chunk)
  if not fine then
    return false, type(raised) == "string" and raised or tostring(raised)
  end
  return true
end

function M.set_package_paths(path, cpath)
  if path ~= "" then
    package.path = path .. ";" .. package.path
  end
  if cpath ~= "" then
    package.cpath = cpath .. ";" .. package.cpath
  end
end

-- A function of the script, or nil.
function M.global(name)
  local value = _G[name]
  return type(value) == "function" and value or nil
end

M.rawpairs = raw_pairs
return M
