{{/* Labels that select the operator's pods; they never change. */}}
{{- define "trellis.selector" -}}
app.kubernetes.io/name: trellis
app.kubernetes.io/component: operator
{{- end }}

{{/*
Labels of every object of the chart. managed-by is Helm, never "trellis": that
value marks objects which the operator generated and may delete.
*/}}
{{- define "trellis.labels" -}}
{{ include "trellis.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "trellis.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* clientConfig of one webhook; takes a dict of root and path. */}}
{{- define "trellis.webhookClient" -}}
{{- if .root.Values.webhook.url -}}
url: {{ printf "%s%s" (trimSuffix "/" .root.Values.webhook.url) .path | quote }}
{{- else -}}
service:
  name: trellis-webhook
  namespace: {{ .root.Release.Namespace }}
  path: {{ .path }}
  port: 443
{{- end -}}
{{- end }}

{{/* Labels that select the server's pods; they never change. */}}
{{- define "trellis.serverSelector" -}}
app.kubernetes.io/name: trellis
app.kubernetes.io/component: server
{{- end }}

{{/* Labels of every object of the server; managed-by as above. */}}
{{- define "trellis.serverLabels" -}}
{{ include "trellis.serverSelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "trellis.serverImage" -}}
{{- with .Values.server.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* clientConfig of one webhook of the server; takes a dict of root and path. */}}
{{- define "trellis.serverClient" -}}
{{- if .root.Values.server.url -}}
url: {{ printf "%s%s" (trimSuffix "/" .root.Values.server.url) .path | quote }}
{{- else -}}
service:
  name: trellis-server
  namespace: {{ .root.Release.Namespace }}
  path: {{ .path }}
  port: 443
{{- end -}}
{{- end }}

{{/* Refuses values for counts that contradict each other. */}}
{{- define "trellis.checkHits" -}}
{{- $server := .Values.server }}
{{- $hits := $server.hits }}
{{- if $hits.enabled }}
{{- if not $server.collector.enabled }}
{{- fail "server.hits.enabled needs server.collector.enabled: counts are made of access logs; set server.collector.enabled, too" }}
{{- end }}
{{- if and $hits.remote.url $hits.persistence.enabled }}
{{- fail "server.hits.remote.url and server.hits.persistence.enabled are two places for the same counts: leave one out" }}
{{- end }}
{{- if and (not $hits.remote.url) (gt (int $server.replicas) 1) }}
{{- fail "server.hits in a directory needs server.replicas: 1, since each replica would have a part of the counts and answer with that; for more set server.hits.remote.url" }}
{{- end }}
{{- if and $hits.remote.writeUrl (not $hits.remote.url) }}
{{- fail "server.hits.remote.writeUrl needs server.hits.remote.url: counts that are written are read, too" }}
{{- end }}
{{- end }}
{{- if and $server.collector.telemetry (not $server.collector.enabled) }}
{{- fail "server.collector.telemetry needs server.collector.enabled: proxies would send their entries to nobody" }}
{{- end }}
{{- end }}
