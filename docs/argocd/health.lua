-- The health of a Table for Argo CD: docs/operations.md says where it goes. tests/charts/test_argocd.py tests it.
local health = { status = "Progressing", message = "waiting for the operator" }

if obj.metadata.deletionTimestamp ~= nil then
  health.message = "being deleted"
end

local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function holds(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end

-- A status that is about an older specification says nothing about this one.
if conditions.Ready == nil or status.observedGeneration ~= obj.metadata.generation then
  return health
end

if holds("Stalled") then
  health.status = conditions.Stalled.reason == "Paused" and "Suspended" or "Degraded"
  health.message = conditions.Stalled.reason .. ": " .. conditions.Stalled.message
elseif obj.metadata.deletionTimestamp ~= nil then
  return health
elseif holds("Reconciling") then
  health.message = conditions.Reconciling.message
elseif holds("Ready") then
  health.status = "Healthy"
  health.message = conditions.Ready.message
else
  health.status = "Degraded"
  health.message = conditions.Ready.message
end
return health
