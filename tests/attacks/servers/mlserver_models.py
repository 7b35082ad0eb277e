"""Both models for MLServer, which finds them by the settings that attacks.py writes."""

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from hostile import Secret, attack


class Victim(MLModel):
    async def load(self):
        self.secret = Secret()
        return True

    def answer(self, text):
        return text.upper()

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        text = StringCodec.decode_input(payload.inputs[0])[0]
        output = StringCodec.encode_output("text", [self.answer(text)])
        return InferenceResponse(model_name=self.name, outputs=[output])


class Hostile(Victim):
    async def load(self):
        return True

    def answer(self, text):
        return attack(text)
