"""LitServe with an identity model, as its quick start writes one."""

import litserve
from announce import announce, free_port


class Identity(litserve.LitAPI):
    def setup(self, device):
        pass

    def decode_request(self, request):
        return request["input"]

    def predict(self, x):
        return x

    def encode_response(self, output):
        return {"output": output}


if __name__ == "__main__":
    port = free_port()
    announce(port)
    server = litserve.LitServer(Identity(), accelerator="cpu", workers_per_device=1)
    server.run(port=port, host="127.0.0.1", generate_client_file=False, log_level="error")
