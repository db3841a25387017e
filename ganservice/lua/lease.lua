-- Gives the first job that fits to the caller, with a new token; with an `id` that job, whatever it needs.
-- A job that must wait holds back what it waits for, so that smaller ones cannot starve it;
-- a job that no machine of this cluster could ever hold, or that a newer release wrote, is passed over, and told so.

-- A job whose hash is gone, or lacks what every job has, must not end everybody's turn.
local function set_aside(id)
  if redis.call('EXISTS', job_key(id)) == 1 then
    settle(id, 'queued', 'failed', 'unreadable', 'what is kept of the job is damaged; submit it again', args)
  else
    for _, key in ipairs({root .. 'ready', root .. 'delayed', state_key('queued')}) do redis.call('ZREM', key, id) end
  end
end

local function end_delay(ids)
  for _, id in ipairs(ids) do
    local job = redis.call('HMGET', job_key(id), 'priority', 'order', 'ready_at')
    local priority, order = number(job[1]), number(job[2])
    redis.call('ZREM', root .. 'delayed', id)
    if priority and order then
      enqueue(id, priority, order, now)
      redis.call('HSET', job_key(id), 'ready_at', math.min(now, number(job[3]) or now))
    else
      set_aside(id)
    end
  end
end

end_delay(redis.call('ZRANGEBYSCORE', root .. 'delayed', '-inf', now, 'LIMIT', 0, 1000))
-- Nobody is delayed for so long: the clock has stepped back.
end_delay(redis.call('ZRANGEBYSCORE', root .. 'delayed', now + args.longest_delay_ms, '+inf', 'LIMIT', 0, 1000))

local function grant(id, key, attempt, spec)
  local token = next_token()
  redis.call('ZREM', root .. 'ready', id)
  redis.call('ZREM', root .. 'delayed', id)
  redis.call('ZREM', state_key('queued'), id)
  redis.call('ZADD', state_key('running'), now + args.lease_ms, id)
  redis.call('HDEL', key, 'waiting_for', 'reason', 'message', 'not_before', 'pulse')
  local checkpoint = redis.call('HGET', key, 'checkpoint')
  redis.call('HSET', key, 'attempt_images', 0, 'leased_before_ms', redis.call('HGET', key, 'leased_ms') or 0)
  redis.call('HSET', key, 'state', 'running', 'attempt', attempt, 'token', token, 'owner', args.owner,
    'leased_at', now, 'heartbeat_at', now, 'lease_expires_at', now + args.lease_ms,
    'resumed_images', number(decoded(checkpoint).images) or 0)
  total('attempts')
  observe('wait', number(redis.call('HGET', key, 'ready_at')) or now)
  event(id, 'leased', attempt, cjson.encode({owner = args.owner}))
  return {id = id, attempt = attempt, token = token, spec = spec, rollbacks = redis.call('HGET', key, 'rollbacks') or '[]'}
end

if args.id then
  local job = redis.call('HMGET', job_key(args.id), 'state', 'attempt', 'spec', 'format')
  if not job[1] then return reply({missing = true}) end
  if job[1] ~= 'queued' then return reply({state = job[1], refused = true}) end
  if (number(job[4]) or 1) > args.format then return reply({newer = true}) end
  return reply(grant(args.id, job_key(args.id), (number(job[2]) or 0) + 1, job[3]), true)
end

-- While the queue is paused, only who names a job is given it: he runs it himself, and takes nothing of the cluster.
if redis.call('EXISTS', root .. 'pause') == 1 then return reply({}) end

local function amount(cpus, gpus)
  local text = string.format(cpus == 1 and '%d CPU' or '%d CPUs', cpus)
  if gpus == 0 then return text end
  return text .. string.format(gpus == 1 and ' and %d GPU' or ' and %d GPUs', gpus)
end

local free, start, page = args.free, 0, 256

-- What a job waits for that cannot be leased now; what it waits for is free for no other.
local function waits_for(cpus, gpus, newer)
  if newer then return 'a dispatcher of the newer release that it was submitted by' end
  if cpus > args.total.cpus or gpus > args.total.gpus then
    return amount(cpus, gpus) .. '; the cluster has ' .. amount(args.total.cpus, args.total.gpus)
  end
  free.cpus = math.max(0, free.cpus - cpus)
  free.gpus = math.max(0, free.gpus - gpus)
  return amount(cpus, gpus) .. ' to be free'
end

repeat
  local ids = redis.call('ZRANGE', root .. 'ready', start, start + page - 1)
  for _, id in ipairs(ids) do
    local key = job_key(id)
    local job = redis.call('HMGET', key, 'cpus', 'gpus', 'attempt', 'spec', 'waiting_for', 'format')
    local cpus, gpus, attempt = number(job[1]), number(job[2]), number(job[3])
    local newer = (number(job[6]) or 1) > args.format
    local is_sound = cpus and gpus and attempt and job[4] and cpus >= 0 and gpus >= 0
    if not is_sound or cpus > bounds.cpus or gpus > bounds.gpus then
      set_aside(id)
    elseif not newer and cpus <= free.cpus and gpus <= free.gpus then
      return reply(grant(id, key, attempt + 1, job[4]), true)
    else
      local waiting_for = waits_for(cpus, gpus, newer)
      if job[5] ~= waiting_for then redis.call('HSET', key, 'waiting_for', waiting_for) end
    end
  end
  start = start + page
  -- Every job needs a CPU: without one there is no point in looking further.
until #ids < page or free.cpus < 1
return reply({})
