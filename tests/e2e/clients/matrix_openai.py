"""Every public method of openai's models and embeddings resources, sync and async."""

import argparse
import asyncio
import inspect

import openai
from matrix import Matrix, check, finish, refused
from openai.resources import embeddings, models


def matrices():
    for suffix, resources in (("", (models.Models, embeddings.Embeddings)),
                              (" async", (models.AsyncModels, embeddings.AsyncEmbeddings))):
        of_models = Matrix(f"openai models{suffix}", resources[0])
        of_embeddings = Matrix(f"openai embeddings{suffix}", resources[1])
        fill(of_models, of_embeddings)
        yield suffix, of_models, of_embeddings


async def get(done):
    return await done if inspect.isawaitable(done) else done


def fill(of_models, of_embeddings):
    @of_models.answers
    async def list(client, model):
        page = client.models.list()
        page = await page if inspect.isawaitable(page) else page
        check(model in [one.id for one in page.data], f"{page.data}")

    @of_models.answers
    async def retrieve(client, model):
        check((await get(client.models.retrieve(model))).id == model, "another model")
        call = lambda: client.models.retrieve("no-such-model")
        await refused(openai.NotFoundError, call, "no-such-model")

    @of_models.refuses
    async def delete(client, model):
        call = lambda: client.models.delete(model)
        await refused(openai.APIStatusError, call, "aimass model")

    @of_embeddings.answers
    async def create(client, model):
        answer = await get(client.embeddings.create(model=model, input=["a", "b"]))
        check([one.index for one in answer.data] == [0, 1], f"{answer}")
        check(answer.usage.total_tokens > 0, f"{answer.usage}")
        again = await get(client.embeddings.create(model=model, input="a", encoding_format="float"))
        check(len(again.data[0].embedding) == len(answer.data[0].embedding), "another length")
        call = lambda: client.embeddings.create(model=model, input=[])
        await refused(openai.BadRequestError, call, "input")


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--url", "--key", "--model"):
        parser.add_argument(option, required=True)
    options = parser.parse_args()
    results = []
    for suffix, of_models, of_embeddings in matrices():
        kind = openai.AsyncOpenAI if suffix else openai.OpenAI
        client = kind(base_url=f"{options.url}/v1", api_key=options.key, max_retries=0)
        for matrix in (of_models, of_embeddings):
            results.append((matrix.name, *await matrix.run(client, options.model)))
        await get(client.close())
    finish(results)


asyncio.run(main())
