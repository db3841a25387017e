-- Put between the prelude and every script: how jobs come into the queue, wait in it for one another, and leave it.

-- Where a job stands: higher priority first, then first come. Exact in a double: 101 * 2^40 < 2^53.
local function place(priority, order)
  return (100 - math.max(0, math.min(100, priority))) * 1099511627776 + math.max(0, math.min(order, 1099511627775))
end

-- Added to the place of a job that the cluster could not hold when it was looked at: behind all others. Exact as well.
local ASIDE = 1125899906842624  -- 2^50

-- Puts a job into the queue, from `not_before` on; `since` another moment, if it has waited since then.
local function enqueue(id, priority, order, not_before, since)
  local user, ready_at = user_of(id), since or math.max(now, not_before)
  if not_before > now then
    redis.call('ZADD', root .. 'delayed', not_before, id)
  else
    redis.call('ZADD', ready_key(user), place(priority, order), id)
    if user then redis.call('SADD', root .. 'ready_users', user) end
  end
  if user then redis.call('SADD', held_key('queued', user), id) end
  redis.call('HSET', job_key(id), 'ready_at', ready_at)
  redis.call('ZADD', state_key('queued'), ready_at, id)
end

-- An evaluation that is in the queue keeps its checkpoint from being deleted.
local function under_way(id, is_under_way)
  local job = redis.call('HMGET', job_key(id), 'evaluates', 'evaluates_images')
  if not job[1] then return end
  clear(job[1])
  if is_under_way then redis.call('HSET', under_way_key(job[1]), id, job[2])
  else redis.call('HDEL', under_way_key(job[1]), id) end
end

-- Has a job wait in the queue until another one has succeeded.
local function follow(id, after)
  local user = user_of(id)
  redis.call('SADD', followers_key(after), id)
  redis.call('ZADD', root .. 'waiting', now, id)
  if user then
    redis.call('SADD', held_key('following', user), id)
    redis.call('SADD', held_key('queued', user), id)
  end
  redis.call('HDEL', job_key(id), 'ready_at')
  redis.call('HSET', job_key(id), 'waiting_for', after .. ' to succeed')
  redis.call('ZADD', state_key('queued'), now, id)
end

-- Has a job of a sweep wait until that lets it go on. It is none that the user's quota counts: he has no say in it.
local function await_promotion(id)
  redis.call('ZADD', root .. 'waiting', now, id)
  redis.call('HDEL', job_key(id), 'ready_at')
  redis.call('HSET', job_key(id), 'halted', 1, 'waiting_for', 'its sweep to let it go on')
  redis.call('ZADD', state_key('queued'), now, id)
end

-- How the job stands after which another one is to run: `live`, `done`, or a text that says why it never will be.
local function standing_of(after)
  local state = redis.pcall('HGET', job_key(after), 'state')
  if state == 'queued' or state == 'running' then return 'live' end
  if state == 'succeeded' then return 'done' end
  local how = (state == 'failed' and 'has failed') or (state == 'cancelled' and 'is cancelled') or 'is gone'
  return string.format('%s, after which it is to run, %s', after, how)
end

-- Why no more jobs may wait for this one, or of this user for others, if that is so. What each job that ends has to look
-- through is bounded, and so is all that one end may lead to.
local function too_many_following(after, user)
  local following = user and redis.call('SCARD', held_key('following', user)) or 0
  if math.max(following, redis.call('SCARD', followers_key(after))) < bounds.followers then return end
  return string.format('%d jobs wait for others already, as many as may; wait for some of them', bounds.followers)
end

-- Takes a job out of all places in which it waits.
local function leave_queue(id, user)
  local after = redis.call('HGET', job_key(id), 'after')
  -- Another hand may have made it another type of value, in which nobody waits.
  if after then redis.pcall('SREM', followers_key(after), id) end
  redis.call('ZREM', ready_key(user), id)
  redis.call('ZREM', root .. 'delayed', id)
  redis.call('ZREM', root .. 'waiting', id)
  redis.call('ZREM', state_key('queued'), id)
  if not user then return end
  redis.call('ZREM', root .. 'ready', id)  -- where a release without queues for each user has put it
  redis.call('SREM', held_key('queued', user), id)
  redis.call('SREM', held_key('following', user), id)
end

local follow_up

-- Ends the current attempt, or the wait in the queue, in `state`: the job's last place, or the queue again.
local function settle(id, from, state, reason, message, options)
  local key = job_key(id)
  local job = redis.call('HMGET', key, 'attempt', 'priority', 'order', 'cancel_requested_by', 'user', 'evaluates')
  local by = nil
  if state == 'cancelled' then
    by = options.by or job[4] or nil
    local who = options.because and ': ' .. options.because or ' by ' .. (by or 'its user')
    message = 'cancelled' .. who .. ((message or '') ~= '' and '; ' .. message or '')
  end
  message = cut(message, bounds.text_bytes)
  local attempt = job[1] or 0
  local user = job[5] or nil
  if from == 'queued' then leave_queue(id, user) end
  if from == 'running' then
    redis.call('ZREM', state_key(from), id)
    if user then redis.call('SREM', held_key('running', user), id) end
    -- Another hand may have put it there meanwhile.
    if redis.call('ZSCORE', state_key('queued'), id) then leave_queue(id, user) end
    account(id)
  end
  redis.call('HDEL', key, 'lease_expires_at', 'owner', 'waiting_for', 'unplaceable', 'pulse', 'halted')
  local fields = {'state', state, 'token', 0, 'reason', reason, 'message', message}
  for _, name in ipairs({'failures', 'troubles', 'trouble_ms', 'generator'}) do
    if options[name] then
      table.insert(fields, name)
      table.insert(fields, options[name])
    end
  end
  redis.call('HSET', key, unpack(fields))
  if from == 'running' then
    total('outcome:' .. reason)
    if state == 'queued' and not options.halts then total('retry:' .. reason) end
  end
  local detail = {reason = reason, message = message, by = by}
  if options.halts and state == 'queued' then
    add(key, 'halts', 1)
    await_promotion(id)
    event(id, 'halted', attempt, cjson.encode({message = message}))
    return
  end
  if state == 'queued' then
    local not_before = now + (options.delay_ms or 0)
    redis.call('HSET', key, 'not_before', not_before)
    enqueue(id, number(job[2]) or 0, number(job[3]) or 0, not_before)
    detail.delay_s = (options.delay_ms or 0) / 1000
    event(id, 'requeued', attempt, cjson.encode(detail))
    return
  end
  if job[6] then under_way(id, false) end
  redis.call('HSET', key, 'finished_at', now)
  redis.call('HDEL', key, 'cancel_requested', 'cancel_requested_by', 'not_before')
  redis.call('ZADD', state_key(state), now, id)
  total('finished:' .. state)
  event(id, state, attempt, cjson.encode(detail))
  for _, expiring in ipairs(keys_of(id)) do redis.call('PEXPIRE', expiring, options.ttl_ms) end
  follow_up(id, options.ttl_ms)
end

-- Jobs whose wait one script ends: some 20 ms. The others are left to the next looks for a job, see `follow_up_later`.
local FOLLOWERS_AT_ONCE = 100
local followed = 0

-- Jobs that wait for one that has succeeded may run; those that wait for one that never will are cancelled. Returns
-- whether some are left over, of those that `all` does not ask for.
local function release(id, ttl_ms, all)
  local followers = redis.call('SMEMBERS', followers_key(id))
  local standing = #followers > 0 and standing_of(id)
  for _, follower in ipairs(standing == 'live' and {} or followers) do
    if followed >= FOLLOWERS_AT_ONCE and not all then return true end
    followed = followed + 1
    clear(follower)
    local job = redis.call('HMGET', job_key(follower), 'state', 'priority', 'order', 'after')
    redis.call('SREM', followers_key(id), follower)
    if job[1] == 'queued' and job[4] == id then
      if standing == 'done' then
        leave_queue(follower, user_of(follower))
        redis.call('HDEL', job_key(follower), 'waiting_for')
        enqueue(follower, number(job[2]) or 0, number(job[3]) or 0, now)
      else
        settle(follower, 'queued', 'cancelled', 'cancelled', nil, {because = standing, ttl_ms = ttl_ms})
      end
    end
  end
end

-- So are those that wait for these: one after the other, for a chain of them may be longer than calls go deep.
local ended, is_following = {}, false
follow_up = function(id, ttl_ms)
  table.insert(ended, id)
  if is_following then return end
  is_following = true
  local at, all = 1, false
  while ended[at] do
    local is_left = release(ended[at], ttl_ms, all)
    -- Who has the rights of an earlier release may leave nothing to others.
    all = all or (is_left and type(redis.pcall('SADD', root .. 'ended', ended[at])) == 'table')
    if not (is_left and all) then at = at + 1 end
  end
  ended, is_following = {}, false
end

-- Ends more waits for jobs that have ended. Returns whether some are left over.
local function follow_up_later(ttl_ms)
  local key = root .. 'ended'
  local ids = redis.pcall('SRANDMEMBER', key, FOLLOWERS_AT_ONCE)
  if ids.err then redis.pcall('DEL', key) end
  for _, id in ipairs(ids) do
    if type(redis.pcall('SREM', key, id)) == 'table' then return false end
    clear(id)
    follow_up(id, ttl_ms)
  end
  return #ids > 0 and redis.call('EXISTS', key) == 1
end
