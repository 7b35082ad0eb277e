"""KServe's model server with both models: python kserve_server.py --http_port=PORT"""

from kserve import Model, ModelServer

from hostile import Secret, attack


class Victim(Model):
    def __init__(self, name):
        super().__init__(name)
        self.secret = Secret()
        self.ready = True

    def predict(self, payload, headers=None):
        return {"predictions": [payload["instances"][0].upper()]}


class Hostile(Model):
    def __init__(self, name):
        super().__init__(name)
        self.ready = True

    def predict(self, payload, headers=None):
        return {"predictions": [attack(payload["instances"][0])]}


if __name__ == "__main__":
    ModelServer(enable_grpc=False).start([Victim("victim"), Hostile("hostile")])
