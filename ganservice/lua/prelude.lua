-- Put before every script. KEYS[1] is the root of all keys; ARGV[1] a request id; ARGV[2] the arguments as JSON.
-- Time is Redis' own. It may step either way: nothing is taken from anybody because of it, see `silence.py`.
local root, request, args = KEYS[1], ARGV[1], cjson.decode(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)  -- ms

-- A client that lost our reply sends the same request again: it gets the same answer, and nothing happens twice.
local reply_key = root .. 'reply:' .. request
local replayed = redis.call('GET', reply_key)
if replayed then return replayed end

-- The number that a text says, or nil: of a job that another hand has damaged no script may fail.
local function number(text)
  local value = text and tonumber(text)
  if value and value == value and math.abs(value) < 9007199254740992 then return value end
end

local function reply(answer, remember)
  local text = cjson.encode(answer)
  -- For longer than an attempt may ask again.
  if remember then redis.call('SET', reply_key, text, 'PX', math.max(300000, 2 * (args.lease_ms or 0))) end
  return text
end

-- What only the leading dispatcher may do is refused to one that no longer leads.
if args.leadership and number(redis.call('HGET', root .. 'leader', 'token')) ~= args.leadership then
  return reply({deposed = true})
end

local function job_key(id) return root .. 'job:' .. id end
local function events_key(id) return root .. 'events:' .. id end
local function logs_key(id) return root .. 'logs:' .. id end
local function evaluations_key(id) return root .. 'evaluations:' .. id end
local function under_way_key(id) return root .. 'evaluations_under_way:' .. id end
local function state_key(state) return root .. 'state:' .. state end
-- A user's jobs that may be leased, and all of his that wait or run; of no user's in particular, without one.
local function ready_key(user) return user and root .. 'ready_of:' .. user or root .. 'ready' end
local function held_key(state, user) return root .. state .. '_of:' .. user end
-- The jobs that wait until this one has succeeded.
local function followers_key(id) return root .. 'followers:' .. id end
local function sweep_key(id) return root .. 'sweep:' .. id end
local function sweep_jobs_key(id) return root .. 'sweep_jobs:' .. id end
local function user_of(id) return redis.call('HGET', job_key(id), 'user') or nil end
-- Every key that goes when the job is forgotten.
local function keys_of(id)
  local keys = {job_key(id), events_key(id), logs_key(id), evaluations_key(id), under_way_key(id)}
  local idempotency_key = redis.call('HGET', job_key(id), 'idempotency_key')
  if idempotency_key then table.insert(keys, root .. 'idempotency:' .. idempotency_key) end
  return keys
end

-- Whether a sweep is not over; of one that another hand has damaged that is not known, and so it is not.
local function is_live_sweep(id)
  local state = redis.call('HGET', sweep_key(id), 'state')
  local is_over = state == 'succeeded' or state == 'failed' or state == 'cancelled'
  return redis.call('EXISTS', sweep_key(id)) == 1 and not is_over
end

-- Every key that goes when the sweep is forgotten; that of its submission may have come to stand for another.
local function keys_of_sweep(id)
  local keys = {sweep_key(id), sweep_jobs_key(id)}
  local idempotency_key = redis.call('HGET', sweep_key(id), 'idempotency_key')
  local key = idempotency_key and root .. 'idempotency:' .. idempotency_key
  if key and redis.pcall('GET', key) == id then table.insert(keys, key) end
  return keys
end

-- Takes away what another hand has put, as another type of value than ours, under a key of a job or of a sweep: no script
-- may fail of it. Streams are looked at when something is appended.
local function clear_key(key, ours)
  local found = redis.call('TYPE', key).ok
  if found ~= ours and found ~= 'none' then redis.call('DEL', key) end
end
local function clear(id)
  clear_key(job_key(id), 'hash')
  clear_key(evaluations_key(id), 'hash')
  clear_key(under_way_key(id), 'hash')
  clear_key(followers_key(id), 'set')
end
local function clear_sweep(id)
  clear_key(sweep_key(id), 'hash')
  clear_key(sweep_jobs_key(id), 'hash')
end
if args.id then clear(args.id) end

-- The job or the sweep that was submitted with this idempotency key, if it is there yet.
local function submitted_with(key)
  local id = key and redis.pcall('GET', root .. 'idempotency:' .. key)
  if type(id) ~= 'string' then return end
  clear(id)
  clear_sweep(id)
  if redis.call('EXISTS', job_key(id), sweep_key(id)) > 0 then return id end
end

-- The table that a JSON text says; of a text that another hand has damaged an empty one.
local function decoded(text)
  local well, value = pcall(cjson.decode, text or '{}')
  return well and type(value) == 'table' and value or {}
end

-- A counter that never falls.
local function total(name, by)
  local count = number(by or 1) or 0
  -- One that is full stays so: it must hold up nobody.
  if count > 0 then redis.pcall('HINCRBY', root .. 'totals', name, string.format('%.0f', count)) end
end

-- Adds to a number of a job, of which may be known what it was.
local function add(key, field, by, before)
  if before == nil then before = redis.call('HGET', key, field) end
  local sum = (number(before) or 0) + (number(by) or 0)
  if number(sum) then redis.call('HSET', key, field, string.format('%.0f', sum)) end
end

-- Counts the span since then in the class it falls into; classes are not cumulative, `inf` is the last.
local function observe(name, since)
  local span_ms, class = math.max(0, now - since), 'inf'
  for _, bound_s in ipairs(wait_bounds_s) do
    if span_ms <= bound_s * 1000 then class = bound_s break end
  end
  total(name .. ':' .. class)
  total(name .. '_ms', span_ms)
end

-- A text of at most so many bytes; one that was longer ends in a mark. No character is broken.
local function cut(text, bytes)
  text = tostring(text)
  if #text <= bytes then return text end
  local last = bytes
  while last > 0 and math.floor(string.byte(text, last + 1) / 64) == 2 do last = last - 1 end
  return string.sub(text, 1, last) .. '... (' .. #text .. ' bytes)'
end

-- Where in its stream, in bytes, an entry ends; those of earlier releases do not say.
local function end_of(entry)
  for place = 1, entry and #entry[2] or 0, 2 do
    if entry[2][place] == 'end' then return number(entry[2][place + 1]) or 0 end
  end
  return 0
end

-- Appends to a stream of at most so many entries and bytes; the oldest go.
local function append(key, entries, bytes, name, text, ...)
  local last = redis.pcall('XREVRANGE', key, '+', '-', 'COUNT', 1)
  if last.err then clear_key(key, 'stream') end
  local ends = end_of(last[1]) + #text + 64
  local entry = {'XADD', key, 'MAXLEN', '~', entries, '*', 'end', string.format('%.0f', ends), name, text, ...}
  local added = redis.pcall(unpack(entry))
  if type(added) == 'table' then
    -- Another hand has taken the last id that there is.
    if string.find(added.err, ' ID', 1, true) then redis.call('DEL', key) end
    redis.call(unpack(entry))
  end
  if ends <= bytes then return end
  local oldest = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
  while oldest and end_of(oldest) <= ends - bytes do
    redis.call('XDEL', key, oldest[1])
    oldest = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
  end
end

local function event(id, kind, attempt, detail)
  local text = detail or '{}'
  if #text > bounds.event_bytes then text = cjson.encode({cut = cut(text, bounds.event_bytes / 8)}) end
  append(events_key(id), bounds.events, bounds.events_bytes, 'detail', text, 'kind', kind, 'attempt', attempt or 0)
end

-- A token that was never given before, as text: larger than the last, and than any that a Redis which lost its last
-- second, or is a replica that lagged, has forgotten. Where its clock stepped back as well, chance sees to it, by the
-- last digits of the request. Below 2^53 until the year 2255.
local function next_token()
  local step = 1 + (tonumber(string.sub(request, -4), 16) or 0)
  local token = math.max(redis.call('INCRBY', root .. 'token', step), clock[1] * 1000000 + clock[2])
  local text = string.format('%.0f', token)
  redis.call('SET', root .. 'token', text)
  return text
end

-- The attempt, if `token` is the job's current one. Counts and tells what it refuses. That its lease is over is for its holder
-- to see by his own clock, and for the reaper to decide.
local function holds(id, token)
  local job = redis.call('HMGET', job_key(id), 'state', 'token', 'attempt')
  if job[1] == 'running' and number(job[2]) == token then return job[3] or '0' end
  total('stale_writes')
  if job[1] then event(id, 'stale_write_refused', job[3], cjson.encode({token = string.format('%.0f', token)})) end
end

-- What a gang has held its CPUs and GPUs for since its last heartbeat: never less than nothing, nor more than a lease.
-- Of an evaluation it is charged to its training as well, unless that is forgotten.
local function account(id)
  local job = redis.call('HMGET', job_key(id), 'heartbeat_at', 'cpus', 'gpus', 'lease_expires_at', 'evaluates', 'leased_ms')
  local beat_at = number(job[1]) or now
  local lease_ms = math.max(0, (number(job[4]) or now) - beat_at)
  local held_ms = math.max(0, math.min(now - beat_at, lease_ms))
  add(job_key(id), 'leased_ms', held_ms, job[6])
  local cpu_ms = held_ms * math.min(number(job[2]) or 0, bounds.cpus)
  local gpu_ms = held_ms * math.min(number(job[3]) or 0, bounds.gpus)
  total('cpu_ms', cpu_ms)
  total('gpu_ms', gpu_ms)
  if not job[5] then return end
  clear(job[5])
  if redis.call('EXISTS', job_key(job[5])) == 0 then return end
  add(job_key(job[5]), 'evaluations_cpu_ms', cpu_ms)
  add(job_key(job[5]), 'evaluations_gpu_ms', gpu_ms)
end

-- Forgotten with the job are the places in which it is found by its number, its id, its name and its user, whom its hash
-- does not tell any more by then.
local function name_of(id) return string.match(id, '^(.*)%-[^-]*$') or id end

-- Writes to a key that may be another type of value than ours. Returns whether it may.
local function put(command, key, ...)
  local done = redis.pcall(command, key, ...)
  if type(done) ~= 'table' then return true end
  if string.sub(done.err, 1, 9) == 'WRONGTYPE' then redis.call('DEL', key) end
  return type(redis.pcall(command, key, ...)) ~= 'table'
end

-- Returns whether it may: not all of it may who has the rights of an earlier release.
local function index(id, order)
  redis.call('ZADD', root .. 'jobs', order, id)
  redis.call('ZADD', root .. 'ids', 0, id)
  redis.call('ZADD', root .. 'named:' .. name_of(id), order, id)
  local user = user_of(id)
  if user and not put('ZADD', held_key('jobs', user), order, id) then return false end
  return put('HSET', root .. 'user_of', id, user or '')
end

local function forget_places(id)
  for _, key in ipairs({'jobs', 'ids', 'named:' .. name_of(id)}) do redis.call('ZREM', root .. key, id) end
  local user = redis.pcall('HGET', root .. 'user_of', id)
  if type(user) ~= 'string' then return end
  redis.pcall('HDEL', root .. 'user_of', id)
  redis.pcall('ZREM', held_key('jobs', user), id)
end

-- What the operator allows a user: what his own entry leaves open is as that of `*` says.
local function quota_of(user)
  local quota = {}
  for _, text in ipairs(redis.call('HMGET', root .. 'users', '*', user)) do
    local entry = decoded(text)
    for _, what in ipairs({'jobs_queued', 'jobs_running', 'cpus', 'gpus'}) do
      quota[what] = number(entry[what]) or quota[what]
    end
  end
  return quota
end

-- Of a user's jobs in a state no more are counted than there are, should a damaged one have left its place behind.
local function forget_strays(state, user, ids)
  for _, id in ipairs(ids) do
    local job = redis.pcall('HMGET', job_key(id), 'state', 'user')
    if job[1] ~= state or job[2] ~= user then redis.call('SREM', held_key(state, user), id) end
  end
end

-- Why a user may have no more jobs in the queue, if that is so.
local function too_many_queued(user)
  local limit = user and quota_of(user).jobs_queued
  local key = user and held_key('queued', user)
  if not limit or redis.call('SCARD', key) < limit then return end
  forget_strays('queued', user, redis.call('SRANDMEMBER', key, 100))
  local queued = redis.call('SCARD', key)
  if queued < limit then return end
  return string.format('%s has %d job%s in the queue, as many as the quota allows; wait, or ask the operator',
    user, queued, queued == 1 and '' or 's')
end
