"""KServe's model server with an identity model, protocol v2."""

from announce import announce, free_port
from kserve import InferOutput, InferResponse, Model, ModelServer


class Identity(Model):
    def __init__(self):
        super().__init__("identity")
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None):
        got = payload.inputs[0]
        made = InferOutput(name="OUTPUT0", shape=got.shape, datatype=got.datatype, data=got.data)
        answer_id = payload.id or "none"
        return InferResponse(response_id=answer_id, model_name=self.name, infer_outputs=[made])


port = free_port()
announce(port)
ModelServer(http_port=port, enable_grpc=False, workers=1).start([Identity()])
