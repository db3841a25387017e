-- Gives the making of something that many need, by its key in the store, to one attempt. Answers with the job that
-- makes it already: one that still runs under the token with which it asked.
if not holds(args.id, args.token) then return reply({lost = true}) end
local key = root .. 'claim:' .. args.key
local held = redis.call('TYPE', key).ok == 'string' and redis.call('GET', key) or ''
local maker, token = string.match(held, '^([a-z0-9-]+) (%d+)$')
if maker and maker ~= args.id and redis.call('TYPE', job_key(maker)).ok == 'hash' then
  local job = redis.call('HMGET', job_key(maker), 'state', 'token')
  if job[1] == 'running' and job[2] == token then return reply({maker = maker}) end
end
redis.call('SET', key, args.id .. ' ' .. string.format('%.0f', args.token), 'PX', args.ttl_ms)
return reply({})
