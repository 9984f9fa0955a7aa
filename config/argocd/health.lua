-- Health of every kind of trellis.dev for Argo CD, from the conditions that kstatus reads.
-- In the ConfigMap argocd-cm: docs/concepts/gitops.md.
--
-- Argo CD gives the object as obj and takes the table that is returned.
local function progressing(message)
  return { status = "Progressing", message = message }
end

local status = obj.status or {}
local of = status.observedGeneration
if of ~= nil and obj.metadata.generation ~= nil and of < obj.metadata.generation then
  return progressing("Trellis has not looked at this generation yet")
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function said(condition)
  return (condition.reason or "") .. ": " .. (condition.message or "")
end

local stalled, ready, met = conditions.Stalled, conditions.Ready, conditions.Met
if stalled ~= nil and stalled.status == "True" then
  return { status = "Degraded", message = said(stalled) } -- a person is needed
end
if ready == nil then
  -- A kind whose objects only hold data says nothing of itself.
  if obj.kind == "HostClaim" then
    return { status = "Healthy", message = "" }
  end
  return progressing("Trellis has not looked at it yet")
end
if ready.status == "True" then
  -- A goal that is not met is applied as it should be: that is no fault of the deployment.
  return { status = "Healthy", message = met ~= nil and said(met) or said(ready) }
end
if ready.reason == "Paused" then
  return { status = "Suspended", message = said(ready) }
end
if ready.status == "False" then
  return { status = "Degraded", message = said(ready) }
end
return progressing(said(ready))
