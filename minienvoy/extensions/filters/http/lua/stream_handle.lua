-- The handle that the HTTP Lua filter gives to scripts, and all that it leads to.
--
-- Envoy: StreamHandleWrapper (source/extensions/filters/http/lua/lua_filter.h), and the wrappers beside it. `M` is
-- objects.lua; `host` has the functions of Python, which know a stream by its number.

local M, host = ...
local select, error, unpack, type, yield = select, error, unpack, type, coroutine.yield
local this, create, kid = M.this, M.create, M.kid
local check_string, c_string, integer, number, typed = M.string, M.c_string, M.integer, M.number, M.typed

M.log_with(
  { "logTrace", host.log_trace },
  { "logDebug", host.log_debug },
  { "logInfo", host.log_info },
  { "logWarn", host.log_warn },
  { "logErr", host.log_err },
  { "logCritical", host.log_critical }
)

local function packed(...)
  return { n = select("#", ...), ... }
end

-- What the host answers: the values, or an error of the method that calls.
local function answer(fine, ...)
  if not fine then
    error((...), 3)
  end
  return ...
end

local HTTP = "N5Envoy10Extensions11HttpFilters3Lua"
local COMMON = "N5Envoy10Extensions7Filters6Common3Lua"
local function named(space, name)
  return space .. #name .. name .. "E"
end

-- -- headers

local HeaderMap
local function check_modifiable(record)
  if record.iterating then
    error("header map cannot be modified while iterating", 3)
  end
  if not host.modify_headers(record.id, record.kind) then
    error("header map can no longer be modified", 3)
  end
end
HeaderMap = M.class(named(HTTP, "HeaderMapWrapper"), {
  add = function(...)
    local record = this(HeaderMap, ...)
    check_modifiable(record)
    local name, value = c_string(2, ...), c_string(3, ...)
    host.add_header(record.id, record.kind, name, value)
  end,
  replace = function(...)
    local record = this(HeaderMap, ...)
    check_modifiable(record)
    local name, value = c_string(2, ...), c_string(3, ...)
    host.replace_header(record.id, record.kind, name, value)
  end,
  remove = function(...)
    local record = this(HeaderMap, ...)
    check_modifiable(record)
    host.remove_header(record.id, record.kind, (c_string(2, ...)))
  end,
  get = function(...)
    local record = this(HeaderMap, ...)
    local value = host.get_header(record.id, record.kind, (check_string(2, ...)))
    if value ~= nil then
      return value
    end
  end,
  getAtIndex = function(...)
    local record = this(HeaderMap, ...)
    local name, index = check_string(2, ...), integer(3, ...)
    local value = host.get_header_at(record.id, record.kind, name, index)
    if value ~= nil then
      return value
    end
  end,
  getNumValues = function(...)
    local record = this(HeaderMap, ...)
    local count = host.count_header(record.id, record.kind, (check_string(2, ...)))
    return count
  end,
  setHttp1ReasonPhrase = function(...)
    local record = this(HeaderMap, ...)
    check_modifiable(record)
    host.set_reason(record.id, record.kind, (check_string(2, ...)))
  end,
  __pairs = function(...)
    local record = this(HeaderMap, ...)
    local iterate = M.pairs_of(record, packed(host.all_headers(record.id, record.kind)))
    return iterate
  end,
})
local function new_headers(parent, kind)
  return create(HeaderMap, parent, { id = parent.id, kind = kind })
end

-- -- bodies

local Buffer
local OUT_OF_RANGE = "index/length must be >= 0 and (index + length) must be <= buffer size"
Buffer = M.class(named(COMMON, "BufferWrapper"), {
  length = function(...)
    local record = this(Buffer, ...)
    local length = host.body_length(record.id, record.chunk)
    return length
  end,
  getBytes = function(...)
    local record = this(Buffer, ...)
    local from, length = integer(2, ...), integer(3, ...)
    local bytes = host.body_bytes(record.id, record.chunk, from, length)
    if bytes == nil then
      error(OUT_OF_RANGE, 2)
    end
    return bytes
  end,
  setBytes = function(...)
    local record = this(Buffer, ...)
    -- What there was is gone even if there is nothing to take its place.
    host.drain_body(record.id, record.chunk)
    local bytes = check_string(2, ...)
    host.set_body(record.id, record.chunk, bytes)
    return #bytes
  end,
})
local function new_buffer(parent, chunk)
  return create(Buffer, parent, { id = parent.id, chunk = chunk })
end

-- -- metadata of the configuration

local MetadataMap
MetadataMap = M.class(named(COMMON, "MetadataMapWrapper"), {
  get = function(...)
    local record = this(MetadataMap, ...)
    local name = c_string(2, ...)
    if host.has_metadata(record.id, record.source, name) then
      local value = M.decode(host.metadata(record.id, record.source, name))
      return value
    end
  end,
  __pairs = function(...)
    local record = this(MetadataMap, ...)
    local names = packed(host.metadata_names(record.id, record.source))
    local items = { n = 2 * names.n }
    for at = 1, names.n do
      items[2 * at - 1] = names[at]
      items[2 * at] = M.decode(host.metadata(record.id, record.source, names[at]))
    end
    local iterate = M.pairs_of(record, items)
    return iterate
  end,
})
local function new_metadata(parent, source)
  return create(MetadataMap, parent, { id = parent.id, source = source })
end
local function with_metadata(name, source)
  local class
  class = M.class(name, {
    metadata = function(...)
      local record = this(class, ...)
      local object = kid(record, "metadata", new_metadata, source)
      return object
    end,
  })
  return function(parent)
    return create(class, parent, { id = parent.id })
  end
end
local new_virtual_host = with_metadata(named(HTTP, "VirtualHostWrapper"), "virtual_host")
local new_route = with_metadata(named(HTTP, "RouteWrapper"), "route")

-- -- dynamic metadata

local function dynamic_metadata_pairs(record)
  local names = packed(host.dynamic_metadata_names(record.id, record.of_connection))
  local items = { n = 2 * names.n }
  for at = 1, names.n do
    items[2 * at - 1] = names[at]
    items[2 * at] = M.decode(host.dynamic_metadata(record.id, record.of_connection, names[at]))
  end
  return items
end
local function dynamic_metadata_get(record, name)
  if host.has_dynamic_metadata(record.id, record.of_connection, name) then
    return M.decode(host.dynamic_metadata(record.id, record.of_connection, name))
  end
end
local DynamicMetadataMap
DynamicMetadataMap = M.class(named(HTTP, "DynamicMetadataMapWrapper"), {
  get = function(...)
    local record = this(DynamicMetadataMap, ...)
    local value = dynamic_metadata_get(record, (c_string(2, ...)))
    if value ~= nil then
      return value
    end
  end,
  set = function(...)
    local record = this(DynamicMetadataMap, ...)
    if record.iterating then
      error("dynamic metadata map cannot be modified while iterating", 2)
    end
    local name, key = c_string(2, ...), c_string(3, ...)
    local tokens = M.encode((select(4, ...)))
    host.set_dynamic_metadata(record.id, name, key, tokens)
  end,
  __pairs = function(...)
    local record = this(DynamicMetadataMap, ...)
    local iterate = M.pairs_of(record, dynamic_metadata_pairs(record))
    return iterate
  end,
})
local ConnectionDynamicMetadataMap
ConnectionDynamicMetadataMap = M.class(named(HTTP, "ConnectionDynamicMetadataMapWrapper"), {
  get = function(...)
    local record = this(ConnectionDynamicMetadataMap, ...)
    local value = dynamic_metadata_get(record, (c_string(2, ...)))
    if value ~= nil then
      return value
    end
  end,
  __pairs = function(...)
    local record = this(ConnectionDynamicMetadataMap, ...)
    local iterate = M.pairs_of(record, dynamic_metadata_pairs(record))
    return iterate
  end,
})

-- -- TLS

local ParsedName
ParsedName = M.class(named(COMMON, "ParsedX509NameWrapper"), {
  commonName = function(...)
    local record = this(ParsedName, ...)
    local name = host.subject_common_name(record.id)
    return name
  end,
  organizationName = function(...)
    local record = this(ParsedName, ...)
    local names = { host.subject_organizations(record.id) }
    return names
  end,
})
local SslConnection
local ssl_methods = {
  parsedSubjectPeerCertificate = function(...)
    local record = this(SslConnection, ...)
    if not host.ssl_value(record.id, "peerCertificatePresented") then
      return nil
    end
    local object = kid(record, "subject", function(parent)
      return create(ParsedName, parent, { id = parent.id })
    end)
    return object
  end,
}
for _, name in ipairs({ host.ssl_values() }) do
  ssl_methods[name] = function(...)
    local record = this(SslConnection, ...)
    local value = host.ssl_value(record.id, name)
    return value
  end
end
for _, name in ipairs({ host.ssl_lists() }) do
  ssl_methods[name] = function(...)
    local record = this(SslConnection, ...)
    local values = { host.ssl_list(record.id, name) }
    return values
  end
end
SslConnection = M.class(named(COMMON, "SslConnectionWrapper"), ssl_methods)
local function ssl_of(record)
  if not host.has_ssl(record.id) then
    return nil
  end
  return kid(record, "ssl", function(parent)
    return create(SslConnection, parent, { id = parent.id })
  end)
end
local Connection
Connection = M.class(named(COMMON, "ConnectionWrapper"), {
  ssl = function(...)
    local object = ssl_of((this(Connection, ...)))
    return object
  end,
})

-- -- what is known of the stream, and of its connection

local FilterState
FilterState = M.class(named(HTTP, "FilterStateWrapper"), {
  get = function(...)
    local record = this(FilterState, ...)
    local name, field = c_string(2, ...), nil
    if select("#", ...) >= 3 and (select(3, ...)) ~= nil then
      field = c_string(3, ...)
    end
    local value = host.filter_state(record.id, name, field)
    if value ~= nil then
      return value
    end
  end,
  set = function(...)
    local record = this(FilterState, ...)
    local name, factory, value = check_string(2, ...), check_string(3, ...), check_string(4, ...)
    answer(host.set_filter_state(record.id, name, factory, value))
  end,
})
local StreamInfo
local stream_info_methods = {
  dynamicMetadata = function(...)
    local record = this(StreamInfo, ...)
    local object = kid(record, "dynamic_metadata", function(parent)
      return create(DynamicMetadataMap, parent, { id = parent.id, of_connection = false })
    end)
    return object
  end,
  dynamicTypedMetadata = function(...)
    this(StreamInfo, ...)
    c_string(2, ...)
    -- Streams have no typed metadata here.
  end,
  filterState = function(...)
    local record = this(StreamInfo, ...)
    local object = kid(record, "filter_state", function(parent)
      return create(FilterState, parent, { id = parent.id })
    end)
    return object
  end,
  downstreamSslConnection = function(...)
    local object = ssl_of((this(StreamInfo, ...)))
    return object
  end,
  drainConnectionUponCompletion = function(...)
    local record = this(StreamInfo, ...)
    host.drain_connection(record.id)
  end,
}
for _, name in ipairs({ host.stream_values() }) do
  stream_info_methods[name] = function(...)
    local record = this(StreamInfo, ...)
    local value = host.stream_value(record.id, name)
    return value
  end
end
StreamInfo = M.class(named(HTTP, "StreamInfoWrapper"), stream_info_methods)
local ConnectionStreamInfo
ConnectionStreamInfo = M.class(named(HTTP, "ConnectionStreamInfoWrapper"), {
  dynamicMetadata = function(...)
    local record = this(ConnectionStreamInfo, ...)
    local object = kid(record, "dynamic_metadata", function(parent)
      return create(ConnectionDynamicMetadataMap, parent, { id = parent.id, of_connection = true })
    end)
    return object
  end,
  dynamicTypedMetadata = function(...)
    this(ConnectionStreamInfo, ...)
    c_string(2, ...)
    -- Nor have connections.
  end,
})

-- -- statistics of the script's own

local function not_negative(value, problem)
  if value < 0 then
    error(problem, 3)
  end
  return value
end
local Counter
Counter = M.class(named(HTTP, "CounterWrapper"), {
  inc = function(...)
    local record = this(Counter, ...)
    host.add_to_counter(record.id, record.name, 1)
  end,
  add = function(...)
    local record = this(Counter, ...)
    local amount = not_negative(integer(2, ...), "counter add amount must be non-negative")
    host.add_to_counter(record.id, record.name, amount)
  end,
  value = function(...)
    local record = this(Counter, ...)
    local value = host.counter_value(record.id, record.name)
    return value
  end,
})
local Gauge
local function change_gauge(sign, problem)
  return function(...)
    local record = this(Gauge, ...)
    local amount = not_negative(integer(2, ...), problem)
    host.add_to_gauge(record.id, record.name, sign * amount)
  end
end
Gauge = M.class(named(HTTP, "GaugeWrapper"), {
  inc = function(...)
    local record = this(Gauge, ...)
    host.add_to_gauge(record.id, record.name, 1)
  end,
  dec = function(...)
    local record = this(Gauge, ...)
    host.add_to_gauge(record.id, record.name, -1)
  end,
  add = change_gauge(1, "gauge add amount must be non-negative"),
  sub = change_gauge(-1, "gauge sub amount must be non-negative"),
  set = function(...)
    local record = this(Gauge, ...)
    local value = not_negative(integer(2, ...), "gauge set value must be non-negative")
    host.set_gauge(record.id, record.name, value)
  end,
  value = function(...)
    local record = this(Gauge, ...)
    local value = host.gauge_value(record.id, record.name)
    return value
  end,
})
local Histogram
Histogram = M.class(named(HTTP, "HistogramWrapper"), {
  recordValue = function(...)
    local record = this(Histogram, ...)
    local value = not_negative(integer(2, ...), "histogram value must be non-negative")
    host.record_value(record.id, record.name, record.unit, value)
  end,
})
local StatsScope
StatsScope = M.class(named(HTTP, "StatsScopeWrapper"), {
  counter = function(...)
    local record = this(StatsScope, ...)
    local object = create(Counter, record, { id = record.id, name = check_string(2, ...) })
    return object
  end,
  gauge = function(...)
    local record = this(StatsScope, ...)
    local object = create(Gauge, record, { id = record.id, name = check_string(2, ...) })
    return object
  end,
  histogram = function(...)
    local record = this(StatsScope, ...)
    local name, unit = check_string(2, ...), M.optional_string(3, ...) or "unspecified"
    if not host.is_unit(unit) then
      local units = "'ms', 'milliseconds', 'microseconds', 'nanoseconds', 'bytes', or 'unspecified'"
      error("invalid histogram unit '" .. unit .. "', expected " .. units, 2)
    end
    local object = create(Histogram, record, { id = record.id, name = name, unit = unit })
    return object
  end,
})

-- -- keys

local PublicKey
PublicKey = M.class(named(HTTP, "PublicKeyWrapper"), {
  get = function(...)
    local record = this(PublicKey, ...)
    return record.key
  end,
})

-- -- tables of headers

-- Names and values one after the other; `top` is how many arguments the method has, which errors count on from.
local function flatten_headers(headers, top)
  local flat, count = {}, 0
  for key, value in M.rawpairs(headers) do
    local name = M.element(top + 2, key):lower():match("^[^%z]*")
    if type(value) == "table" then
      for _, each in M.rawpairs(value) do
        flat[count + 1], flat[count + 2] = name, M.element(top + 5, each):match("^[^%z]*")
        count = count + 2
      end
    else
      flat[count + 1], flat[count + 2] = name, M.element(top + 3, value):match("^[^%z]*")
      count = count + 2
    end
    if type(key) == "number" then
      error("invalid key to 'next'", 0)
    end
  end
  return flat
end

local function is_request(flat)
  local found = {}
  for at = 1, #flat, 2 do
    found[flat[at]] = true
  end
  return found[":path"] and found[":method"] and (found[":authority"] or found.host)
end

-- A response's headers as a table: of those that come twice the last, or a table of all.
local function headers_table(duplicates, ...)
  local headers, last = {}, select("#", ...)
  for at = 1, last, 2 do
    local name, value = select(at, ...)
    local known = duplicates and headers[name]
    if not known then
      headers[name] = value
    elseif type(known) == "table" then
      known[#known + 1] = value
    else
      headers[name] = { known, value }
    end
  end
  return headers
end

-- What a call has come to: the headers and the body, which is nil if it is empty.
local function call_result(duplicates, body, ...)
  local headers = headers_table(duplicates, ...)
  if body == nil then
    return headers, nil
  end
  return headers, body
end

local OPTIONS = {
  asynchronous = function(options, value)
    options.asynchronous = not not value
  end,
  timeout_ms = function(options, value, top)
    local number = tonumber(value)
    if (type(value) ~= "number" and type(value) ~= "string") or not number then
      M.argument_error(4, top + 3, "number expected, got " .. type(value))
    end
    if number < 0 then
      error("http call timeout must be >= 0", 4)
    end
    options.timeout = math.floor(number)
  end,
  trace_sampled = function(options, value)
    options.sampled = not not value
  end,
  return_duplicate_headers = function(options, value)
    options.duplicates = not not value
  end,
  send_xff = function(options, value)
    options.send_xff = not not value
  end,
}
local function parse_options(given, options, top)
  for key, value in M.rawpairs(given) do
    local name = M.element(top + 2, key)
    local take = OPTIONS[name]
    if not take then
      error('"' .. name .. '" is not valid key for httpCall() options', 3)
    end
    take(options, value, top)
  end
end

-- -- the handle

local StreamHandle
local function simple(name, make, ...)
  local more = { ... }
  return function(...)
    local record = this(StreamHandle, ...)
    local object = kid(record, name, make, unpack(more))
    return object
  end
end

-- Asks the host until it has the value; in between the script waits.
local function wait_for(record, ask, ...)
  while true do
    local fine, found, value = ask(record.id, ...)
    if not fine then
      error(found, 3)
    end
    if found ~= "wait" then
      return found, value
    end
    yield()
  end
end

StreamHandle = M.class(named(HTTP, "StreamHandleWrapper"), {
  headers = simple("headers", new_headers, "headers"),
  requestHeaders = simple("request_headers", new_headers, "request_headers"),
  metadata = simple("metadata", new_metadata, "own"),
  filterContext = simple("filter_context", new_metadata, "context"),
  virtualHost = simple("virtual_host", new_virtual_host),
  route = simple("route", new_route),
  streamInfo = simple("stream_info", function(parent)
    return create(StreamInfo, parent, { id = parent.id })
  end),
  connection = simple("connection", function(parent)
    return create(Connection, parent, { id = parent.id })
  end),
  connectionStreamInfo = simple("connection_stream_info", function(parent)
    return create(ConnectionStreamInfo, parent, { id = parent.id })
  end),
  stats = simple("stats", function(parent)
    return create(StatsScope, parent, { id = parent.id })
  end),
  body = function(...)
    local record = this(StreamHandle, ...)
    local always = false
    if select("#", ...) >= 2 then
      always = typed(2, "boolean", ...)
    end
    local found = wait_for(record, host.body, always)
    if found == "body" then
      local object = kid(record, "body", new_buffer, false)
      return object
    end
  end,
  bodyChunks = function(...)
    local record = this(StreamHandle, ...)
    answer(host.begin_chunks(record.id))
    return function()
      if record.dead then
        error("object used outside of proper scope", 2)
      end
      if host.next_chunk(record.id) then
        return (yield())
      end
    end
  end,
  trailers = function(...)
    local record = this(StreamHandle, ...)
    local found = wait_for(record, host.trailers)
    if found == "trailers" then
      local object = kid(record, "trailers", new_headers, "trailers")
      return object
    end
  end,
  httpCall = function(...)
    local record = this(StreamHandle, ...)
    local top = select("#", ...)
    local given = select(5, ...)
    local options = { timeout = 0 }
    if type(given) == "table" then
      parse_options(given, options, top)
    else
      local flag = select(6, ...)
      if top >= 6 and type(flag) ~= "boolean" then
        error("http call asynchronous flag must be 'true', 'false', or empty", 2)
      end
      options.timeout = integer(5, ...)
      if options.timeout < 0 then
        error("http call timeout must be >= 0", 2)
      end
      options.asynchronous = flag
    end
    local cluster, headers = check_string(2, ...), typed(3, "table", ...)
    if not host.has_cluster(record.id, cluster) then
      error("http call cluster invalid. Must be configured", 2)
    end
    local flat = flatten_headers(headers, top)
    if not is_request(flat) then
      error("http call headers must include ':path', ':method', and ':authority'", 2)
    end
    local body = M.optional_string(4, ...)
    local result = packed(host.http_call(
      record.id, cluster, body, options.timeout, options.asynchronous, options.sampled, options.duplicates,
      options.send_xff, unpack(flat)
    ))
    if not result[1] then
      error(result[2], 2)
    elseif result[2] == "wait" then
      return yield()
    elseif result[2] == "done" then
      return call_result(options.duplicates, unpack(result, 3, result.n))
    end
  end,
  respond = function(...)
    local record = this(StreamHandle, ...)
    local top = select("#", ...)
    answer(host.may_respond(record.id))
    local headers = typed(2, "table", ...)
    local body = M.optional_string(3, ...)
    answer(host.respond(record.id, body, unpack(flatten_headers(headers, top))))
    -- Nobody lets it go on: that is the end of the script.
    yield()
  end,
  importPublicKey = function(...)
    local record = this(StreamHandle, ...)
    local key, length = check_string(2, ...), number(3, ...)
    local object = kid(record, "public_key", function(parent)
      return create(PublicKey, parent, { key = host.import_public_key(parent.id, key, length) and key or nil })
    end)
    return object
  end,
  verifySignature = function(...)
    local record = this(StreamHandle, ...)
    local hash, key = check_string(2, ...), check_string(3, ...)
    if not host.has_public_key(record.id, key) then
      error("invalid public key", 2)
    end
    local signature, signature_length = check_string(4, ...), number(5, ...)
    local text, text_length = check_string(6, ...), number(7, ...)
    local problem = host.verify_signature(record.id, hash, key, signature, signature_length, text, text_length)
    return problem == nil, problem
  end,
  base64Escape = function(...)
    this(StreamHandle, ...)
    local text = host.base64_escape((check_string(2, ...)))
    return text
  end,
  base64Decode = function(...)
    this(StreamHandle, ...)
    local text = host.base64_decode((check_string(2, ...)))
    return text
  end,
  timestamp = function(...)
    local record = this(StreamHandle, ...)
    local unit = M.optional_string(2, ...)
    if not (unit == nil or unit == "" or host.unsigned(unit) == 0) then
      error("timestamp format must be MILLISECOND.", 2)
    end
    return math.floor(host.microseconds(record.id) / 1000)
  end,
  timestampString = function(...)
    local record = this(StreamHandle, ...)
    local unit = M.optional_string(2, ...)
    local resolution = (unit == nil or unit == "") and 0 or host.unsigned(unit)
    if resolution ~= 0 and resolution ~= 1 then
      error("timestamp format must be MILLISECOND or MICROSECOND.", 2)
    end
    local text = ("%.0f"):format(math.floor(host.microseconds(record.id) / (resolution == 0 and 1000 or 1)))
    return text
  end,
  setUpstreamOverrideHost = function(...)
    local record = this(StreamHandle, ...)
    local address = check_string(2, ...)
    if not host.is_ip_address(address) then
      error("host is not a valid IP address", 2)
    end
    local strict = false
    if select("#", ...) >= 3 then
      strict = typed(3, "boolean", ...)
    end
    host.set_override_host(record.id, address, strict)
  end,
  clearRouteCache = function(...)
    local record = this(StreamHandle, ...)
    host.clear_route_cache(record.id)
  end,
})

-- -- what the host calls

local handles = {}
EnvoyTimestampResolution = { MILLISECOND = 0, MICROSECOND = 1 }

-- Run a function of the script with a handle of its own. As all that let a script go on: true and whether it has come
-- to its end, or false and the message of its error.
local function start(id, hook)
  local record = { id = id }
  handles[id] = record
  M.begin(record, hook)
  return M.run(record, (create(StreamHandle, nil, record)))
end
local function go_on(id)
  return M.run(handles[id])
end
local function go_on_with_chunk(id)
  local record = handles[id]
  return M.run(record, (new_buffer(record, true)))
end
local function go_on_with_result(id, duplicates, body, ...)
  return M.run(handles[id], call_result(duplicates, body, ...))
end
local function forget(id)
  local record = handles[id]
  handles[id] = nil
  if record then
    record.coroutine = nil
    M.bury(record)
  end
end
return start, go_on, go_on_with_chunk, go_on_with_result, forget
