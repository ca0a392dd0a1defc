"""D11: a line feed in HOME adds no line to any account file: we write none (CVE-2022-4318, CVE-2026-15809)."""

import grpc
import pytest

from lib import images, oci
from lib.cri import security
from lib.stubs import pb

LINE = "root2::0:0::/:/bin/sh"


@pytest.mark.parametrize("value", [f"/x\n{LINE}", f"/x\\n{LINE}", f"/x\r\n{LINE}", f"/x:{LINE}", "/x\0" + LINE])
@pytest.mark.parametrize("origin", ["image", "request"])
def test_the_files_are_the_images(cri, pod, clean, value, origin):
    fields = {}
    if origin == "image":
        image = images.busybox().with_config(Env=["PATH=/bin", f"HOME={value}"])
        cri.load(oci.layout_archive({"example.com/home:v1": image}))
        fields["image"] = "example.com/home:v1"
    else:
        fields["envs"] = [pb.KeyValue(key="HOME", value=value.encode())]
    for user in ({}, dict(run_as_user=pb.Int64Value(value=4242))):  # one that the image does not know
        command = "cat /etc/passwd /etc/group; grep -c root2 /etc/* 2>/dev/null | grep -v :0; true"
        try:
            text = pod.output(command, linux=security(**user), **fields)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
            continue
        assert text == images.PASSWD + images.GROUP, text
