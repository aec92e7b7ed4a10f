{{/* Labels that every object carries. */}}
{{- define "jumpstarter.labels" -}}
app.kubernetes.io/name: jumpstarter
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What selects the pods of the controller: the labels that existing Deployments have, so that they can be taken over. */}}
{{- define "jumpstarter.controller.selector" -}}
app: jumpstarter-controller
component: controller
controller: {{ .Release.Name }}
{{- end }}

{{/* What selects the pod of one router: a dict with `root` and `index`. */}}
{{- define "jumpstarter.router.selector" -}}
app: {{ .root.Release.Name }}-router-{{ .index }}
component: router
router: {{ .root.Release.Name }}
router-index: {{ .index | quote }}
{{- end }}

{{- define "jumpstarter.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "jumpstarter.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (printf "%s-controller-manager" .Release.Name) }}
{{- end }}

{{- define "jumpstarter.routerSecret" -}}
{{ .Values.routers.existingSecret | default "jumpstarter-router-secret" }}
{{- end }}

{{/* Port that an endpoint below baseDomain has: a dict with `root`, `plain` (the port of the Service) and `node`. */}}
{{- define "jumpstarter.publicPort" -}}
{{- $type := .root.Values.expose.type -}}
{{- if eq $type "NodePort" }}{{ .node }}{{ else if eq $type "LoadBalancer" }}{{ .plain }}{{ else }}443{{ end }}
{{- end }}

{{/* HOST:PORT of the controller. */}}
{{- define "jumpstarter.controller.endpoint" -}}
{{- $node := .Values.expose.nodePort.controller -}}
{{- if .Values.controller.endpoint -}}
{{ .Values.controller.endpoint }}
{{- else if .Values.baseDomain -}}
grpc.{{ .Values.baseDomain }}:{{ include "jumpstarter.publicPort" (dict "root" . "plain" 8082 "node" $node) }}
{{- else if eq .Values.expose.type "ClusterIP" -}}
controller-grpc.{{ .Release.Namespace }}.svc.cluster.local:8082
{{- else -}}
{{ fail (printf "expose.type %s: set baseDomain, or controller.endpoint to the HOST:PORT by which clients reach the controller" .Values.expose.type) }}
{{- end -}}
{{- end }}

{{/* HOST:PORT of one router: a dict with `root` and `index`. */}}
{{- define "jumpstarter.router.endpoint" -}}
{{- $values := .root.Values -}}
{{- if $values.routers.endpoint -}}
{{- if and (gt (int $values.routers.count) 1) (not (contains "$(replica)" $values.routers.endpoint)) -}}
{{ fail "routers.endpoint: with more than one router it must contain $(replica), since each needs an address of its own" }}
{{- end -}}
{{ $values.routers.endpoint | replace "$(replica)" (toString .index) }}
{{- else if $values.baseDomain -}}
{{- $node := add (int $values.expose.nodePort.routers) .index -}}
router-{{ .index }}.{{ $values.baseDomain }}:{{ include "jumpstarter.publicPort" (dict "root" .root "plain" 8083 "node" $node) }}
{{- else if eq $values.expose.type "ClusterIP" -}}
{{ .root.Release.Name }}-router-{{ .index }}.{{ .root.Release.Namespace }}.svc.cluster.local:8083
{{- else -}}
{{ fail (printf "expose.type %s: set baseDomain, or routers.endpoint to the HOST:PORT by which clients reach router $(replica)" $values.expose.type) }}
{{- end -}}
{{- end }}

{{/* The ports of all routers that are asked how they fare, as a JSON list: those of their endpoints, and that of the pods, which
they are translated to on the way. */}}
{{- define "jumpstarter.router.ports" -}}
{{- $ports := list 8083 -}}
{{- range $index := until (int .Values.routers.count) -}}
{{- $ports = append $ports (include "jumpstarter.router.endpoint" (dict "root" $ "index" $index) | regexFind "[0-9]+$" | int) -}}
{{- end -}}
{{- range .Values.routers.external -}}
{{- if dig "probe" true . -}}
{{- $ports = append $ports (regexFind "[0-9]+$" .endpoint | default "443" | int) -}}
{{- end -}}
{{- end -}}
{{ $ports | uniq | toJson }}
{{- end }}

{{/* The keepalive settings of the lab as flags of a router, which cannot read the ConfigMap. */}}
{{- define "jumpstarter.router.keepalive" -}}
{{- $flags := dict "intervalTime" "keepalive-interval" "timeout" "keepalive-timeout" "maxConnectionIdle" "max-connection-idle" "maxConnectionAge" "max-connection-age" "maxConnectionAgeGrace" "max-connection-age-grace" -}}
{{- $keepalive := dig "grpc" "keepalive" dict .Values.config -}}
{{- range $key, $flag := $flags }}
{{- with get $keepalive $key }}
- --{{ $flag }}={{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Host of a HOST:PORT; an IPv6 address loses its brackets. */}}
{{- define "jumpstarter.host" -}}
{{ regexReplaceAll ":[0-9]+$" . "" | trimPrefix "[" | trimSuffix "]" }}
{{- end }}

{{/* Host name of the login page, or nothing. */}}
{{- define "jumpstarter.login.host" -}}
{{- if .Values.login.endpoint -}}
{{ include "jumpstarter.host" (.Values.login.endpoint | trimPrefix "https://" | trimPrefix "http://") }}
{{- else if .Values.baseDomain -}}
login.{{ .Values.baseDomain }}
{{- end -}}
{{- end }}

{{/* Secret with the certificate of the controller, or nothing. */}}
{{- define "jumpstarter.controller.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled -}}
{{ .Release.Name }}-controller-tls
{{- else -}}
{{ .Values.tls.controllerSecret }}
{{- end -}}
{{- end }}

{{/* Secret with the certificate of one router, or nothing: a dict with `root` and `index`. */}}
{{- define "jumpstarter.router.tlsSecret" -}}
{{- if .root.Values.tls.certManager.enabled -}}
{{ .root.Release.Name }}-router-{{ .index }}-tls
{{- else -}}
{{ .root.Values.tls.routerSecret | replace "$(replica)" (toString .index) }}
{{- end -}}
{{- end }}

{{/* What the restricted pod security standard asks of a pod. The image names a numeric user. */}}
{{- define "jumpstarter.podSecurity" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* The same for a container. */}}
{{- define "jumpstarter.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Scheduling of a pod: a dict with `values` (controller or routers) and `selector` (labels). */}}
{{- define "jumpstarter.scheduling" -}}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
topologySpreadConstraints:
{{- if .values.topologySpreadConstraints }}
{{- toYaml .values.topologySpreadConstraints | nindent 2 }}
{{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- .selector | nindent 8 }}
{{- end }}
{{- end }}

{{/* Type and type-specific fields of a Service: a dict with `root`. */}}
{{- define "jumpstarter.serviceType" -}}
{{- $expose := .Values.expose -}}
{{- if eq $expose.type "NodePort" -}}
type: NodePort
{{- else if eq $expose.type "LoadBalancer" -}}
type: LoadBalancer
{{- with $expose.loadBalancer.loadBalancerClass }}
loadBalancerClass: {{ . }}
{{- end }}
{{- with $expose.loadBalancer.sourceRanges }}
loadBalancerSourceRanges: {{- toYaml . | nindent 2 }}
{{- end }}
{{- else -}}
type: ClusterIP
{{- end -}}
{{- end }}

{{/* Annotations of a Service that faces clients. */}}
{{- define "jumpstarter.serviceAnnotations" -}}
{{- $balancer := ternary .Values.expose.loadBalancer.annotations dict (eq .Values.expose.type "LoadBalancer") -}}
{{- with merge dict .Values.service.annotations $balancer }}
{{- toYaml . }}
{{- end }}
{{- end }}
