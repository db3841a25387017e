-- Writes what the attempt that holds the token has left to say, and ends it. A user's wish to cancel beats a retry.
local attempt = holds(args.id, args.token)
if not attempt then return reply({lost = true}) end
if args.report then write_report(args.id, attempt, args.report) end
if args.state == 'queued' and redis.call('HGET', job_key(args.id), 'cancel_requested') == '1' then
  args.state, args.reason = 'cancelled', 'cancelled'
end
-- What an evaluation found belongs to the training; one that is forgotten, or has gone back beyond the checkpoint, has
-- no use for it.
local function belongs(found)
  clear(found.job_id)
  local job = redis.call('HMGET', job_key(found.job_id), 'state', 'rollbacks')
  if not job[1] then return false end
  for _, rollback in ipairs(decoded(job[2])) do
    if found.attempt > 0 and found.attempt <= (number(rollback.attempt) or 0) and found.images > (number(rollback.images) or 0) then return false end
  end
  return true
end

-- Shown with the job is that of the checkpoint with most images, not the one that was looked at last; an advisory one
-- only as long as there is no other.
local function shows_rather(images, advisory, than)
  if (than.advisory == true) ~= advisory then return not advisory end
  return images >= (number(than.images) or 0)
end

local found = args.evaluation
if found and belongs(found) then
  redis.call('HSET', evaluations_key(found.job_id), found.field, found.text)
  redis.call('HSET', job_key(found.job_id), 'evaluated_at', now)
  local shown = redis.call('HGET', job_key(found.job_id), 'evaluation')
  if not shown or shows_rather(found.images, found.advisory, decoded(shown)) then
    redis.call('HSET', job_key(found.job_id), 'evaluation', found.text)
  end
  total('evaluations')
  event(found.job_id, 'evaluated', redis.call('HGET', job_key(found.job_id), 'attempt'), found.event)
  -- Both keys go with the training.
  local left = redis.call('PTTL', job_key(found.job_id))
  if left > 0 then redis.call('PEXPIRE', evaluations_key(found.job_id), left) end
end
if args.rollback and args.state == 'queued' then
  local key = job_key(args.id)
  local before = redis.call('HGET', key, 'rollbacks')
  redis.call('HSET', key, 'rollbacks', before and string.sub(before, 1, -2) .. ',' .. args.rollback .. ']' or '[' .. args.rollback .. ']')
  -- What the next attempt starts from is older than the newest checkpoint that was told.
  redis.call('HDEL', key, 'checkpoint')
  -- Nor do findings about what lies beyond it count any more.
  local back = cjson.decode(args.rollback)
  local shown, most = false, {images = -1, advisory = true}
  for _, field in ipairs(redis.call('HKEYS', evaluations_key(args.id))) do
    local images = number(string.match(field, '^(%d+)/')) or 0
    if images > back.images then redis.call('HDEL', evaluations_key(args.id), field)
    else
      local advisory = decoded(redis.call('HGET', evaluations_key(args.id), field)).advisory == true
      if shows_rather(images, advisory, most) then shown, most = field, {images = images, advisory = advisory} end
    end
  end
  if shown then redis.call('HSET', key, 'evaluation', redis.call('HGET', evaluations_key(args.id), shown))
  else redis.call('HDEL', key, 'evaluation') end
  redis.call('HSET', key, 'evaluated_at', now)
  event(args.id, 'rolled_back', redis.call('HGET', key, 'attempt'), args.rollback)
end
settle(args.id, 'running', args.state, args.reason, args.message, args)
return reply({state = args.state}, true)
