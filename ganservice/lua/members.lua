-- The jobs in some states, at one moment: a job on its way from one state to another is in exactly one of them. Reads
-- only, and so it is answered by a Redis that is full, which MULTI is not. args.since: the lowest score, by state.
local ids = {}
for state, since in pairs(args.since) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', state_key(state), since, '+inf')) do table.insert(ids, id) end
end
return reply({ids = ids})
