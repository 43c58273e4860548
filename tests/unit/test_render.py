from edgepress.reporting.render import _Kernels


def test_kernels_that_start_at_once_have_sockets_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kernels = [_Kernels(), _Kernels()]
    for kernel in kernels:
        kernel.write_connection_file()
    assert kernels[0].ip != kernels[1].ip and not list(tmp_path.iterdir())
    for kernel in kernels:
        kernel.cleanup_ipc_files()
