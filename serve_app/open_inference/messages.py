"""Messages: the protocol in protobuf, as gRPC carries it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from tritonclient.grpc import service_pb2

from models.errors import MalformedRequest
from serve_app.open_inference.inference import InferenceAnswer, InferenceRequest
from serve_app.open_inference.servicer import SERVICE
from serve_app.open_inference.tensors import InputTensor, refuse_shared_memory

# Field of the typed contents, by datatype.
_CONTENTS = {"BYTES": "bytes_contents", "UINT8": "uint_contents", "FP32": "fp32_contents"}


def request_of(procedure: str, data: bytes) -> Any:
    """The message with which a client calls a procedure.

    Raises:
        MalformedRequest: if the bytes are none.
    """
    kind = GetMessageClass(SERVICE.methods_by_name[procedure].input_type)
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise MalformedRequest(
            f"The request of {procedure} is no message of the protocol. Use a client of it."
        ) from error


def message(kind: str, content: dict[str, Any]) -> Any:
    """A message of the protocol.

    Args:
        kind: its name, as `ServerReadyResponse`.
        content: its fields as JSON has them.
    """
    return ParseDict(content, getattr(service_pb2, kind)())


def parameters_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a request as JSON has them; those without a value are left out."""
    values = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is not None:
            values[name] = getattr(parameter, choice)
    return values


def inference_request(request: Any) -> InferenceRequest:
    """A `ModelInferRequest`, with raw or typed contents.

    Raises:
        MalformedRequest: if it has both, or not one raw content for each input.
    """
    raw = request.raw_input_contents
    if raw and (len(raw) != len(request.inputs) or any(_typed(each) for each in request.inputs)):
        raise MalformedRequest(
            f"There are {len(raw)} raw_input_contents for {len(request.inputs)} inputs. Send one "
            "for each input and no contents, or contents alone."
        )
    inputs = []
    for index, each in enumerate(request.inputs):
        refuse_shared_memory(each.name, each.parameters)
        field = _CONTENTS.get(each.datatype)
        typed: Any = [] if field is None else getattr(each.contents, field)
        content = memoryview(raw[index]) if raw else typed
        inputs.append(InputTensor(each.name, each.datatype, tuple(each.shape), content))
    return InferenceRequest(
        model=request.model_name,
        version=request.model_version,
        id=request.id,
        parameters=parameters_of(request.parameters),
        inputs=inputs,
        outputs=[(each.name, parameters_of(each.parameters)) for each in request.outputs],
        size_bytes=request.ByteSize(),
    )


def inference_answer(answer: InferenceAnswer) -> Any:
    """A `ModelInferResponse`; its outputs are raw, as Triton's always are."""
    response = service_pb2.ModelInferResponse(
        model_name=answer.model, model_version=answer.version, id=answer.id
    )
    for output in answer.outputs:
        response.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
        response.raw_output_contents.append(output.packed())
    return response


def _typed(tensor: Any) -> bool:
    return bool(tensor.contents.ByteSize())
