-- Gives the first job that fits to the caller, with a new token; with an `id` that job, whatever it needs.
-- A job that must wait holds back what it waits for, so that smaller ones cannot starve it;
-- a job that no machine of this cluster could ever hold is passed over, and told so.
if args.leadership and tonumber(redis.call('HGET', root .. 'leader', 'token')) ~= args.leadership then return reply({}) end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', root .. 'delayed', '-inf', now, 'LIMIT', 0, 1000)) do
  local job = redis.call('HMGET', job_key(id), 'priority', 'order', 'ready_at')
  redis.call('ZREM', root .. 'delayed', id)
  enqueue(id, tonumber(job[1]), tonumber(job[2]), now)
  redis.call('HSET', job_key(id), 'ready_at', job[3] or now)
end

local function grant(id, key, attempt, spec)
  local token = redis.call('INCR', root .. 'token')
  redis.call('ZREM', root .. 'ready', id)
  redis.call('ZREM', root .. 'delayed', id)
  redis.call('ZREM', state_key('queued'), id)
  redis.call('ZADD', state_key('running'), now + args.lease_ms, id)
  redis.call('HDEL', key, 'waiting_for', 'reason', 'message', 'not_before', 'pulse')
  local checkpoint = redis.call('HGET', key, 'checkpoint')
  redis.call('HSET', key, 'state', 'running', 'attempt', attempt, 'token', token, 'owner', args.owner,
    'leased_at', now, 'heartbeat_at', now, 'lease_expires_at', now + args.lease_ms,
    'attempt_images', 0, 'resumed_images', checkpoint and cjson.decode(checkpoint).images or 0)
  total('attempts')
  observe('wait', tonumber(redis.call('HGET', key, 'ready_at') or now))
  event(id, 'leased', attempt, cjson.encode({owner = args.owner}))
  return {id = id, attempt = attempt, token = token, spec = spec, rollbacks = redis.call('HGET', key, 'rollbacks') or '[]'}
end

if args.id then
  local job = redis.call('HMGET', job_key(args.id), 'state', 'attempt', 'spec')
  if not job[1] then return reply({missing = true}) end
  if job[1] ~= 'queued' then return reply({state = job[1], refused = true}) end
  return reply(grant(args.id, job_key(args.id), tonumber(job[2]) + 1, job[3]), true)
end

local function amount(cpus, gpus)
  local text = string.format(cpus == 1 and '%d CPU' or '%d CPUs', cpus)
  if gpus == 0 then return text end
  return text .. string.format(gpus == 1 and ' and %d GPU' or ' and %d GPUs', gpus)
end

local free, start, page = args.free, 0, 256
repeat
  local ids = redis.call('ZRANGE', root .. 'ready', start, start + page - 1)
  for _, id in ipairs(ids) do
    local key = job_key(id)
    local job = redis.call('HMGET', key, 'cpus', 'gpus', 'attempt', 'spec', 'waiting_for')
    local cpus, gpus = tonumber(job[1]), tonumber(job[2])
    if cpus <= free.cpus and gpus <= free.gpus then return reply(grant(id, key, tonumber(job[3]) + 1, job[4]), true) end
    local waiting_for
    if cpus > args.total.cpus or gpus > args.total.gpus then
      waiting_for = amount(cpus, gpus) .. '; the cluster has ' .. amount(args.total.cpus, args.total.gpus)
    else
      waiting_for = amount(cpus, gpus) .. ' to be free'
      free.cpus = math.max(0, free.cpus - cpus)
      free.gpus = math.max(0, free.gpus - gpus)
    end
    if job[5] ~= waiting_for then redis.call('HSET', key, 'waiting_for', waiting_for) end
  end
  start = start + page
  -- Every job needs a CPU: without one there is no point in looking further.
until #ids < page or free.cpus < 1
return reply({})
