#!/bin/bash
# Writes everything generated from proto/ again: Swift for the daemon and the client, C for the shim. With --check it
# writes nothing and fails when what is checked in is not current.
#
# Debian's protoc and protoc-c do the parsing. The Swift plugins are those of the package's own dependencies, so that
# generated code and library always agree; they are built as .ci/build builds, to share what it has built.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=${SWIFTLET_SCRATCH:-.build}

for product in protoc-gen-swift protoc-gen-grpc-swift-2; do
  swift build --quiet -c release --static-swift-stdlib --scratch-path "$scratch" --product "$product" >&2
done
PATH=$(realpath "$scratch/release"):$PATH

out=$(mktemp -d)
trap 'rm -r "$out"' EXIT
cri=Sources/CRIProtocol/Generated shim=Sources/ShimProtocol/Generated c=Sources/CShimMessages
mkdir -p "$out/$cri" "$out/$shim" "$out/$c/include"

options=Visibility=Package,FileNaming=DropPath,UseAccessLevelOnImports=true
protoc -I proto --swift_out="$out/$cri" --swift_opt=$options proto/cri/*.proto proto/swiftlet.proto
protoc -I proto --grpc-swift-2_out="$out/$cri" --grpc-swift-2_opt=$options,Client=true,Server=true \
  proto/cri/runtime.proto proto/swiftlet.proto  # those with services
protoc -I proto --swift_out="$out/$shim" --swift_opt=$options proto/shim.proto
protoc-c -I proto --c_out="$out/$c" proto/shim.proto
mv "$out/$c/shim.pb-c.h" "$out/$c/include/"

if [[ ${1-} == --check ]]; then
  status=0
  diff -rq "$out/$cri" $cri && diff -rq "$out/$shim" $shim || status=1
  for file in shim.pb-c.c include/shim.pb-c.h; do diff -q "$out/$c/$file" $c/$file || status=1; done
  ((status == 0)) || echo "generated code is not current: run make proto" >&2
  exit $status
fi
rm -rf $cri $shim
mkdir -p $cri $shim
cp "$out/$cri"/* $cri
cp "$out/$shim"/* $shim
cp "$out/$c"/*.c $c
cp "$out/$c/include"/* $c/include
