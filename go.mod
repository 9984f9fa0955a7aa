module github.com/trellis-mesh/trellis

go 1.26

require (
	github.com/spf13/cobra v1.10.2
	github.com/trellis-mesh/trellis/api v0.0.0
	istio.io/api v1.31.0-rc.0.0.20260824154656-b943409680a7
	istio.io/client-go v1.31.0-rc.0.0.20260824155257-512e1cfc6c15
	k8s.io/api v0.36.3
	k8s.io/apiextensions-apiserver v0.36.3
	k8s.io/apimachinery v0.36.3
	k8s.io/client-go v0.36.3
	sigs.k8s.io/controller-runtime v0.24.1
	sigs.k8s.io/yaml v1.6.0
	go.yaml.in/yaml/v3 v3.0.4
	github.com/go-jose/go-jose/v4 v4.1.9
)

replace github.com/trellis-mesh/trellis/api => ./api
