"""I02: unpacking at the same time gives nobody a window: layers have private directories (CVE-2025-47290)."""

import concurrent.futures

import grpc

from lib import images, oci, tar


def test_layers_that_swap_a_directory_while_another_writes_into_it(cri, canary, clean):
    rw = str(canary.path / "rw")

    def image(number: int) -> oci.Image:
        writer = [tar.directory("d/")] + [tar.file(f"d/f{i}-{number}", "x") for i in range(200)]
        swapper = []
        for i in range(100):
            swapper += [tar.symlink("d", rw), tar.file(f"d/g{i}", "x"), tar.directory("d/"), tar.file(f"d/g{i}", "x")]
        return images.busybox().with_layers(oci.Layer.of(*writer), oci.Layer.of(*swapper))

    def load(number: int) -> None:
        try:
            cri.load(oci.layout_archive({f"example.com/swap{number}:v1": image(number)}))
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error.details()

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(load, range(6)))


def test_the_same_layer_in_two_images_at_once(cri, pod, clean):
    layer = oci.Layer.of(*(tar.file(f"many/{number}", "x") for number in range(2000)))
    made = [images.busybox().with_layers(layer).with_config(Labels={"n": str(n)}) for n in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: cri.load(oci.layout_archive({f"example.com/same{n}:v1": made[n]})), range(4)))
    for number in range(4):
        assert pod.output("ls /many | wc -l", image=f"example.com/same{number}:v1") == "2000\n"
