-- Ends the attempt that holds the token. A user's wish to cancel beats a retry.
if not holds(args.id, args.token) then return reply({lost = true}) end
if args.state == 'queued' and redis.call('HGET', job_key(args.id), 'cancel_requested') == '1' then
  args.state, args.reason = 'cancelled', 'cancelled'
end
-- What an evaluation found belongs to the training; a training that is forgotten has no use for it.
local found = args.evaluation
if found and redis.call('EXISTS', job_key(found.job_id)) == 1 then
  redis.call('HSET', evaluations_key(found.job_id), found.field, found.text)
  redis.call('HSET', job_key(found.job_id), 'evaluation', found.text)
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
  event(args.id, 'rolled_back', redis.call('HGET', key, 'attempt'), args.rollback)
end
settle(args.id, 'running', args.state, args.reason, args.message, args)
return reply({state = args.state}, true)
