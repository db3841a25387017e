-- Makes the caller the one dispatcher that acts, or tells it who is; the leader calls again to stay it. A leader is
-- succeeded by who has seen that its lease `expires_at` the same moment for a whole lease: it has not called again.
local key = root .. 'leader'
redis.call('ZADD', root .. 'dispatchers', now, args.owner)
redis.call('ZREMRANGEBYSCORE', root .. 'dispatchers', '-inf', now - args.silence_ms)
local leader = redis.call('HMGET', key, 'owner', 'token', 'expires_at', 'last')
local mine = leader[1] == args.owner and number(leader[2])
if leader[1] and not mine and leader[3] ~= args.silent_until then
  return reply({owner = leader[1], expires_at = leader[3]})
end
local token = mine and leader[2] or next_token()
if not mine then
  if leader[4] and leader[4] ~= args.owner then total('leader_changes') end
  redis.call('HSET', key, 'owner', args.owner, 'last', args.owner, 'token', token)
end
-- With its owner, for a leader of an older release does not say its own.
redis.call('HSET', key, 'expires_at', now + args.lease_ms, 'looked_at', now, 'release', args.owner .. ' ' .. args.release)
if args.cluster then
  redis.call('SET', root .. 'cluster', args.cluster)
  redis.call('SET', root .. 'nodes', args.nodes)
end
return reply({owner = args.owner, token = token})
