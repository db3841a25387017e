-- Gives the first job that fits to the caller, with a new token; with an `id` that job, whatever it needs.
-- A job that must wait holds back what it waits for, so that smaller ones cannot starve it;
-- a job that this cluster could never hold, or that a newer release wrote, is told so and put behind all others, where
-- no look comes to it until the cluster is another, or a while has passed.
-- So is one that its user's quota does not allow now, which holds back none of the cluster.
-- A look that takes long is answered with `more`: what the caller is to hand in again, so that it goes on where it was and
-- others have their turn in between.
local SHARE = 200

-- A job whose hash is gone, or lacks what every job has, must not end everybody's turn.
local function set_aside(id, user)
  clear(id)
  if redis.call('EXISTS', job_key(id)) == 1 then
    settle(id, 'queued', 'failed', 'unreadable', 'what is kept of the job is damaged; submit it again', args)
  end
  leave_queue(id, user)
  follow_up(id, args.ttl_ms)
end

-- Whether a job is where another hand has put it, and not in the queue.
local function has_left(state)
  return state == 'running' or state == 'succeeded' or state == 'failed' or state == 'cancelled'
end

local function end_delay(ids)
  for _, id in ipairs(ids) do
    local job = redis.pcall('HMGET', job_key(id), 'priority', 'order', 'ready_at', 'state')
    local priority, order = number(job[1]), number(job[2])
    redis.call('ZREM', root .. 'delayed', id)
    if not has_left(job[4]) then
      if priority and order then enqueue(id, priority, order, now, math.min(now, number(job[3]) or now))
      else set_aside(id) end
    end
  end
end

local due = redis.call('ZRANGEBYSCORE', root .. 'delayed', '-inf', now, 'LIMIT', 0, SHARE)
-- Nobody is delayed for so long: the clock has stepped back.
local never = redis.call('ZRANGEBYSCORE', root .. 'delayed', now + args.longest_delay_ms, '+inf', 'LIMIT', 0, SHARE)
end_delay(due)
end_delay(never)
if follow_up_later(args.ttl_ms) or #due == SHARE or #never == SHARE then return reply({more = {}}) end

local function grant(id, key, attempt, spec)
  local token = next_token()
  local job = redis.call('HMGET', key, 'user', 'checkpoint', 'leased_ms', 'ready_at', 'rollbacks', 'until_images')
  local user = job[1] or nil
  leave_queue(id, user)
  if user then redis.call('SADD', held_key('running', user), id) end
  redis.call('ZADD', state_key('running'), now + args.lease_ms, id)
  redis.call('HDEL', key, 'waiting_for', 'unplaceable', 'reason', 'message', 'not_before', 'pulse', 'halted')
  redis.call('HSET', key, 'state', 'running', 'attempt', attempt, 'token', token, 'owner', args.owner,
    'leased_at', now, 'heartbeat_at', now, 'lease_expires_at', now + args.lease_ms, 'attempt_images', 0,
    'leased_before_ms', job[3] or 0, 'resumed_images', number(decoded(job[2]).images) or 0)
  total('attempts')
  observe('wait', number(job[4]) or now)
  event(id, 'leased', attempt, cjson.encode({owner = args.owner}))
  return {id = id, attempt = attempt, token = token, spec = spec, rollbacks = job[5] or '[]',
    until_images = number(job[6])}
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

local look = args.more or {}
local free = look.free or args.free

-- What a job waits for that cannot be leased now, and whether the cluster could never hold it as it is; what it waits
-- for is free for no other.
local function waits_for(cpus, gpus, newer)
  if newer then return 'a dispatcher of the newer release that it was submitted by', false end
  if cpus > args.total.cpus or gpus > args.total.gpus then
    return amount(cpus, gpus) .. '; the cluster has ' .. amount(args.total.cpus, args.total.gpus), true
  end
  free.cpus = math.max(0, free.cpus - cpus)
  free.gpus = math.max(0, free.gpus - gpus)
  return amount(cpus, gpus) .. ' to be free', false
end

-- What a user's running jobs hold.
local function holdings(user)
  local held = {jobs_running = 0, cpus = 0, gpus = 0}
  local ids = redis.call('SMEMBERS', held_key('running', user))
  forget_strays('running', user, ids)
  for _, id in ipairs(ids) do
    local job = redis.pcall('HMGET', job_key(id), 'state', 'user', 'cpus', 'gpus')
    if job[1] == 'running' and job[2] == user then
      held.jobs_running = held.jobs_running + 1
      held.cpus, held.gpus = held.cpus + (number(job[3]) or 0), held.gpus + (number(job[4]) or 0)
    end
  end
  return held
end

local UNITS = {jobs_running = 'running job', cpus = 'CPU', gpus = 'GPU'}
-- The jobs of one user that are passed over in one look because of his quota: he may have 100,000.
local PASSED_OVER = 50

-- The jobs of one user, or of none, that may be leased, in their order.
local function queue_of(user)
  local queue = {user = user, key = ready_key(user), entries = {}, at = 1, start = 0, passed_over = 0}
  if look.place then queue.start = redis.call('ZCOUNT', queue.key, '-inf', look.place) end
  local quota = user and quota_of(user) or {}
  if quota.jobs_running or quota.cpus or quota.gpus then
    queue.quota, queue.held, queue.left = quota, holdings(user), {}
    for what in pairs(UNITS) do queue.left[what] = quota[what] and quota[what] - queue.held[what] end
    local before = look.quotas and look.quotas[user]
    if before then queue.passed_over, queue.left = before.passed_over, before.left end
  end
  return queue
end

-- The next job and its place in the order of all, or nothing at the end.
local function head(queue)
  if queue.at > #queue.entries then
    if queue.is_read then return end
    local size = queue.entries[1] and SHARE or 32
    queue.entries = redis.call('ZRANGE', queue.key, queue.start, queue.start + size - 1, 'WITHSCORES')
    queue.at, queue.start, queue.is_read = 1, queue.start + size, #queue.entries < 2 * size
    if #queue.entries == 0 then return end
  end
  local place = tonumber(queue.entries[queue.at + 1])
  if place < ASIDE then return queue.entries[queue.at], place end
end

-- What of a user's quota keeps a job back, if something does, and whether it could never hold the job as it is. What a
-- job waits for, none behind it gets.
local function held_back(queue, cpus, gpus)
  local needs = {jobs_running = 1, cpus = cpus, gpus = gpus}
  for _, what in ipairs({'jobs_running', 'cpus', 'gpus'}) do
    local limit = queue.quota[what]
    if limit and needs[what] > 0 and needs[what] > queue.left[what] then
      if needs[what] <= limit then queue.left[what] = 0 end
      local quota = string.format("%s's quota of %d %s%s", queue.user, limit, UNITS[what], limit == 1 and '' or 's')
      if needs[what] > limit then return string.format('%s to be raised: it takes %d', quota, needs[what]), true end
      local held = queue.held[what]
      if held + needs[what] <= limit then return quota .. ', which jobs before it wait for' end
      return string.format('%s: %d %s held', quota, held, held == 1 and 'is' or 'are')
    end
  end
  for what, need in pairs(needs) do
    if queue.left[what] then queue.left[what] = queue.left[what] - need end
  end
end

-- Those to be put behind all others, once the look is over: it goes by ranks.
local aside = {}

-- The lease of a job that fits; else what it waits for is written down.
local function examine(queue, id, place)
  local key = job_key(id)
  local job = redis.pcall('HMGET', key, 'cpus', 'gpus', 'attempt', 'waiting_for', 'format', 'state', 'unplaceable')
  local cpus, gpus, attempt = number(job[1]), number(job[2]), number(job[3])
  local newer = (number(job[5]) or 1) > args.format
  local is_sound = cpus and gpus and attempt and cpus >= 0 and gpus >= 0
  if not is_sound or cpus > bounds.cpus or gpus > bounds.gpus then return set_aside(id, queue.user) end
  if has_left(job[6]) then
    redis.call('ZREM', queue.key, id)  -- another hand has put it here
    return
  end
  local can_be_held = not newer and cpus <= args.total.cpus and gpus <= args.total.gpus
  local waiting_for, never, unplaceable = nil, false, false
  if queue.quota and can_be_held then waiting_for, never = held_back(queue, cpus, gpus) end
  if never then
    table.insert(aside, {queue.key, ASIDE + place, id})  -- many of them would hide what is behind them
  elseif waiting_for then
    queue.passed_over = queue.passed_over + 1
  elseif not newer and cpus <= free.cpus and gpus <= free.gpus then
    local spec = redis.call('HGET', key, 'spec')
    if not spec then return set_aside(id, queue.user) end
    return grant(id, key, attempt + 1, spec)
  else
    waiting_for, unplaceable = waits_for(cpus, gpus, newer)
    if newer or unplaceable then table.insert(aside, {queue.key, ASIDE + place, id}) end
  end
  if job[4] ~= waiting_for or (job[7] == '1') ~= unplaceable then
    redis.call('HSET', key, 'waiting_for', waiting_for, 'unplaceable', unplaceable and 1 or 0)
  end
end

local queues = {queue_of(nil)}
for _, user in ipairs(redis.call('SMEMBERS', root .. 'ready_users')) do
  if redis.call('EXISTS', ready_key(user)) == 1 then table.insert(queues, queue_of(user))
  else redis.call('SREM', root .. 'ready_users', user) end
end

-- What was put behind all others for want of a larger cluster, of a newer dispatcher or of a higher quota comes back with
-- every other one; and after a while, for another hand may have damaged it meanwhile.
local ASIDE_MS = 60000
local quotas = {}
for _, queue in ipairs(queues) do
  local quota = queue.quota
  if quota then
    table.insert(quotas, string.format('%s %s %s %s', queue.user, tostring(quota.jobs_running), tostring(quota.cpus),
      tostring(quota.gpus)))
  end
end
table.sort(quotas)
local seen_by = string.format('%s %s %s %s', args.total.cpus, args.total.gpus, args.format, redis.sha1hex(table.concat(quotas, '\n')))
if not look.place and redis.pcall('GET', root .. 'aside') ~= seen_by then
  local brought_back = 0
  for _, queue in ipairs(queues) do
    local ids = redis.call('ZRANGEBYSCORE', queue.key, ASIDE, '+inf', 'LIMIT', 0, SHARE - brought_back)
    for _, id in ipairs(ids) do
      local job = redis.pcall('HMGET', job_key(id), 'priority', 'order')
      redis.call('ZADD', queue.key, place(number(job[1]) or 100, number(job[2]) or 0), id)
    end
    brought_back = brought_back + #ids
    if brought_back == SHARE then return reply({more = {}}) end
  end
  -- Who has the rights of an earlier release may not; each of his looks then goes through all of them.
  redis.pcall('SET', root .. 'aside', seen_by, 'PX', ASIDE_MS)
end

-- The queue whose turn it is, and the place of the first job of all others.
local function first_of_all()
  local first, first_place, next_place = nil, math.huge, math.huge
  for _, queue in ipairs(queues) do
    local id, place = head(queue)
    if id and queue.passed_over < PASSED_OVER then
      if place < first_place then first, first_place, next_place = queue, place, first_place
      else next_place = math.min(next_place, place) end
    end
  end
  return first, next_place
end

-- Every job needs a CPU: without one there is no point in looking further, but to tell the first what they wait for.
local TOLD = 256
local told, examined = look.examined or 0, 0
local function goes_on(queue)
  return queue and queue.passed_over < PASSED_OVER and (free.cpus >= 1 or told + examined < TOLD)
end

-- What the next share of the look begins with. A place has more digits than numbers have in JSON.
local function rest(place)
  local quotas = {}
  for _, queue in ipairs(queues) do
    if queue.quota then quotas[queue.user] = {passed_over = queue.passed_over, left = queue.left} end
  end
  return {place = string.format('%.0f', place), free = free, examined = told + examined, quotas = quotas}
end

-- The lease of the first job that fits, or what there is more to look at, or nothing.
local function granted()
  local queue, limit = first_of_all()
  while goes_on(queue) do
    local id, place = head(queue)
    while id and place <= limit and goes_on(queue) do
      local lease = examine(queue, id, place)
      if lease then return lease end
      examined, queue.at = examined + 1, queue.at + 2
      if examined == SHARE then return nil, rest(place) end
      id, place = head(queue)
    end
    queue, limit = first_of_all()
  end
end

local lease, more = granted()
for _, each in ipairs(aside) do redis.call('ZADD', each[1], 'XX', each[2], each[3]) end
return reply(lease or {more = more}, lease ~= nil)
