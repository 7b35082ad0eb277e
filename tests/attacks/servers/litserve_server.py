"""LitServe with both models: python litserve_server.py PORT"""

import sys

import litserve

from hostile import Secret, attack


class Victim(litserve.LitAPI):
    def setup(self, device):
        self.secret = Secret()

    def decode_request(self, request):
        return request["text"]

    def predict(self, text):
        return text.upper()

    def encode_response(self, output):
        return {"text": output}


class Hostile(Victim):
    def setup(self, device):
        pass

    def predict(self, text):
        return attack(text)


if __name__ == "__main__":
    apis = [Victim(api_path="/victim"), Hostile(api_path="/hostile")]
    litserve.LitServer(apis, accelerator="cpu").run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
