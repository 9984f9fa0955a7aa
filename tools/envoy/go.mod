module github.com/trellis-mesh/trellis/tools/envoy

go 1.26.0
