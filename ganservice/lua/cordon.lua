-- Has dispatchers place nothing new on a node; with `drain`, have its gangs leave it. A drain stays one until it is
-- taken back by uncordon.lua.
local key = root .. 'cordons'
local drain = args.drain or decoded(redis.call('HGET', key, args.node) or nil).drain == true
local cordon = {by = args.by, at = now / 1000, reason = args.reason, drain = drain}
redis.call('HSET', key, args.node, cjson.encode(cordon))
return reply({}, true)
