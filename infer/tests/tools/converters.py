"""Tools that rewrite a model of another tool: ONNX Runtime's quantiser and onnxconverter-common's float16."""
import onnx
from onnxconverter_common import float16
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

import makers
import scenes
from makers import Made


def bases(folder, *tools):
    """The first model of each of these makers."""
    for maker in tools:
        here = folder / maker.__name__
        here.mkdir()
        yield next(maker(here))


def rewritten(base, name, write):
    """The file of `base`, rewritten beside it; ONNX Runtime for Python runs it on what the base's tool prepares."""
    file = base.file.with_name(f"{name.replace(' ', '-')}.onnx")
    write(base.file, file)
    run, ends = makers.runtime(file), onnx.load(base.file).graph.node[-1].op_type

    def predict(path):
        values = run(base.prepare(path))
        return values.reshape(-1) if ends == "Softmax" else makers.softmax(values)
    return Made(f"{name} of {base.name}", file, predict, base.flags, base.prepare)


class Images(CalibrationDataReader):
    """Images that `quantize_static` finds its ranges with."""

    def __init__(self, base, folder):
        paths = []
        for number, image in enumerate(scenes.training(60)[0]):
            paths.append(folder / f"{number}.png")
            image.save(paths[-1])
        name = onnx.load(base.file).graph.input[0].name
        self.batches = iter([{name: base.prepare(path).__array__()} for path in paths])

    def get_next(self):
        return next(self.batches, None)


def quantizer(folder):
    calibration = folder / "calibration"
    calibration.mkdir()
    for base in bases(folder, makers.timm, makers.keras):  # logits; [batch, H, W, 3] and Softmax
        def prepared(source):
            target = source.with_suffix(".prepared.onnx")
            quant_pre_process(str(source), str(target), skip_symbolic_shape=True)
            model = onnx.load(target)
            del model.graph.value_info[:]  # PyTorch's contradict the quantised weights, and are inferred again
            onnx.save(model, target)
            return target

        def static(source, target, base=base, form=QuantFormat.QDQ):
            quantize_static(prepared(source), target, Images(base, calibration), form, reduce_range=True)
        yield rewritten(base, "quantize_static", static)
        yield rewritten(base, "quantize_static QOperator",
                        lambda *files, static=static: static(*files, form=QuantFormat.QOperator))
        yield rewritten(base, "quantize_dynamic", lambda source, target: quantize_dynamic(
            prepared(source), target, weight_type=QuantType.QUInt8))


def halves(folder):
    for base in bases(folder, makers.timm, makers.ultralytics):  # logits; Softmax
        for name, keep in {"float16": False, "float16 keep_io_types": True}.items():
            yield rewritten(base, name, lambda source, target, keep=keep: onnx.save(
                float16.convert_float_to_float16(onnx.load(source), keep_io_types=keep), target))
