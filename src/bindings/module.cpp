// The extension module: names for Python, nothing else. The public face with its documentation is python/moe_act.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "bindings/bound.hpp"
#include "bindings/functions.hpp"
#include "bindings/operators.hpp"
#include "bindings/plan.hpp"

namespace {

namespace nb = nanobind;
using namespace moe_act::python;
using Name = std::optional<std::string>;

nb::object text_or_none(const char* text) {
  return text == nullptr ? nb::object(nb::none()) : nb::object(nb::str(text));
}

nb::dict problem_dict(const moe_act_problem& problem) {
  nb::dict dict;
  dict["device"] = problem.device_type == MOE_ACT_DEVICE_CPU
                       ? nb::object(nb::str("cpu"))
                       : nb::object(nb::str(("cuda:" + std::to_string(problem.device_id)).c_str()));
  dict["x_format"] = text_or_none(moe_act_option_name("format", problem.x_format));
  dict["out_format"] = text_or_none(moe_act_option_name("format", problem.out_format));
  dict["out_scaling"] = text_or_none(moe_act_option_name("out_scaling", problem.out_scaling));
  dict["x_scale_layout"] = text_or_none(moe_act_option_name("x_scale_layout", problem.x_scale_layout));
  dict["out_scale_layout"] = text_or_none(moe_act_option_name("out_scale_layout", problem.out_scale_layout));
  dict["activation"] = text_or_none(moe_act_option_name("activation", problem.activation));
  dict["gate"] = text_or_none(moe_act_option_name("gate", problem.gate));
  dict["interleave"] = problem.interleave;
  dict["preset"] = text_or_none(moe_act_option_name("preset", problem.preset));
  dict["product_rounding"] = text_or_none(moe_act_option_name("product_rounding", problem.product_rounding));
  dict["quantization"] = text_or_none(moe_act_option_name("quantization", problem.quantization));
  dict["clamp_rounding"] = text_or_none(moe_act_option_name("clamp_rounding", problem.clamp_rounding));
  dict["row_kind"] = text_or_none(moe_act_option_name("row_kind", problem.row_kind));
  dict["padding"] = text_or_none(moe_act_option_name("padding", problem.padding));
  dict["pdl"] = text_or_none(moe_act_option_name("pdl", problem.pdl));
  dict["rows"] = problem.rows;
  dict["columns"] = problem.columns;
  dict["entries"] = problem.entries;
  dict["experts"] = problem.experts;
  dict["expected_rows"] = problem.expected_rows;
  dict["x_row_stride"] = problem.x_row_stride;
  dict["out_row_stride"] = problem.out_row_stride;
  dict["x_scale_stride"] = problem.x_scale_stride;
  dict["out_scale_stride"] = problem.out_scale_stride;
  dict["x_scale_format"] = text_or_none(moe_act_option_name("scale_format", problem.x_scale_format));
  dict["out_scale_format"] = text_or_none(moe_act_option_name("scale_format", problem.out_scale_format));
  dict["scale_rounding"] = text_or_none(moe_act_option_name("scale_rounding", problem.scale_rounding));
  dict["x_block"] = problem.x_block;
  dict["out_block"] = problem.out_block;
  dict["x_alignment"] = problem.x_alignment;
  dict["out_alignment"] = problem.out_alignment;
  return dict;
}

std::vector<Plan> alternatives(const Plan& plan) {
  std::vector<Plan> plans;
  const moe_act_problem problem = plan.problem();
  if (problem.device_type != MOE_ACT_DEVICE_CUDA) return plans;
  std::int64_t count = 0;
  check(moe_act_launch_choice_count(&problem, &count));
  for (std::int64_t i = 0; i < count; ++i) {
    auto choice = sized<moe_act_launch_choice>();
    check(moe_act_launch_choice_at(&problem, i, &choice));
    plans.emplace_back(problem, plan.device(), &choice);
  }
  return plans;
}

DeviceInfo device_info(std::int32_t device_id) {
  DeviceInfo device{sized<moe_act_device_info>()};
  check(moe_act_device_query(device_id, &device.info));
  return device;
}

// A method that Python calls in its own way.
void add_method(nb::handle type, PyMethodDef& definition) {
  type.attr(definition.ml_name) =
      nb::steal(PyDescr_NewMethod(reinterpret_cast<PyTypeObject*>(type.ptr()), &definition));
}

}  // namespace

NB_MODULE(_core, module) {
  // A plan that lives in a global until the process ends is no defect, and the library never prints.
  nb::set_leak_warnings(false);
  module.doc() = "The compiled part of moe_act; the documented face is the package itself.";

  nb::class_<DeviceInfo>(module, "DeviceInfo", "A GPU, as far as planning is concerned.")
      .def(
          "__init__",
          [](DeviceInfo* self, std::int32_t multiprocessors, std::pair<std::int32_t, std::int32_t> compute_capability,
             std::int32_t memory_gigabytes_per_second, std::int64_t l2_bytes) {
            new (self) DeviceInfo{{sizeof(moe_act_device_info), multiprocessors, compute_capability.first,
                                   compute_capability.second, memory_gigabytes_per_second, l2_bytes}};
          },
          nb::kw_only(), nb::arg("multiprocessors"), nb::arg("compute_capability"),
          nb::arg("memory_gigabytes_per_second") = 0, nb::arg("l2_bytes") = 0)
      .def_prop_ro("multiprocessors", [](const DeviceInfo& self) { return self.info.multiprocessors; })
      .def_prop_ro("compute_capability",
                   [](const DeviceInfo& self) {
                     return std::pair{self.info.compute_capability_major, self.info.compute_capability_minor};
                   })
      .def_prop_ro("memory_gigabytes_per_second",
                   [](const DeviceInfo& self) { return self.info.memory_gigabytes_per_second; })
      .def_prop_ro("l2_bytes", [](const DeviceInfo& self) { return self.info.l2_bytes; })
      .def("__repr__", [](const DeviceInfo& self) {
        return "DeviceInfo(multiprocessors=" + std::to_string(self.info.multiprocessors) + ", compute_capability=(" +
               std::to_string(self.info.compute_capability_major) + ", " +
               std::to_string(self.info.compute_capability_minor) +
               "), memory_gigabytes_per_second=" + std::to_string(self.info.memory_gigabytes_per_second) +
               ", l2_bytes=" + std::to_string(self.info.l2_bytes) + ")";
      });

  nb::class_<Plan> plan_class(module, "Plan",
                              "Everything that was decided about running one problem; made once, run often.");
  plan_class.def("__str__", [](const Plan& self) { return std::string(moe_act_plan_text(self.handle())); })
      .def_prop_ro(
          "problem", [](const Plan& self) { return problem_dict(self.problem()); },
          nb::sig("def problem(self) -> dict[str, typing.Any]"),
          "What the plan is for: formats, sizes, strides in elements, promised alignments in bytes.")
      .def_prop_ro(
          "schedule",
          [](const Plan& self) {
            const char* name = moe_act_option_name("schedule", self.info().schedule);
            return name != nullptr ? name : "";
          },
          "How work is laid over warps: \"rows\", \"tiles\", \"sparse\", \"loop\", \"list\", \"segments\", \"span\" or "
          "\"entry\"; "
          "\"\" on the CPU.")
      .def_prop_ro(
          "grid",
          [](const Plan& self) {
            const moe_act_plan_info info = self.info();
            return std::tuple{info.grid_x, info.grid_y, info.grid_z};
          },
          "CTAs in x, y and z; (0, 0, 0) on the CPU.")
      .def_prop_ro(
          "rows_per_cta", [](const Plan& self) { return self.info().rows_per_cta; },
          "Rows that a CTA has in hand at once.")
      .def_prop_ro(
          "units_per_cta", [](const Plan& self) { return self.info().units_per_cta; },
          "Rows or map entries that a CTA answers for; \"sparse\": that the CTAs of the grid's z share.")
      .def_prop_ro("warps_per_row", [](const Plan& self) { return self.info().warps_per_row; })
      .def_prop_ro("threads_per_cta", [](const Plan& self) { return self.info().threads_per_cta; })
      .def_prop_ro("columns_per_lane", [](const Plan& self) { return self.info().columns_per_lane; })
      .def_prop_ro("vectors_per_lane", [](const Plan& self) { return self.info().vectors_per_lane; })
      .def_prop_ro(
          "kernel", [](const Plan& self) { return self.info().kernel; },
          "Which of the compiled kernels runs: below ``kernels``.")
      .def_prop_ro(
          "kernels", [](const Plan& self) { return self.info().kernels; }, "How many are compiled; 0 on the CPU.")
      .def_prop_ro(
          "shared_bytes", [](const Plan& self) { return self.info().shared_bytes; }, "Per CTA.")
      .def_prop_ro(
          "workspace_bytes", [](const Plan& self) { return self.info().workspace_bytes; },
          "Scratch memory of a launch, which run() allocates with the framework of x.")
      .def("alternatives", &alternatives,
           R"(Every way to run this problem on this device, as plans: what a search for the fastest tries.

Results do not depend on which one runs. Empty on the CPU.)");
  add_method(plan_class, run_definition);
  add_method(plan_class, bind_definition);

  nb::class_<BoundLaunch> bound_class(
      module, "BoundLaunch",
      R"(A plan with its tensors: what is launched again and again on fixed buffers. Plan.bind() makes it.

It holds the plan and the tensors, which must stay where they are: that one is resized or given another storage later, or
that a DLPack capsule is taken by another consumer, is not noticed, and the old memory is used, released or not. What does
not speak DLPack's exchange API (CuPy's and JAX's arrays, for example) was made ready for the stream that was current when
it was bound: what is written to it later must be ordered with the stream that run() uses.

With a workspace it must not run on two streams at the same time. Keep it as long as work that it launched on another
stream than that of its making is under way, and as long as a CUDA graph that captured it is replayed.)");
  bound_class.def_prop_ro("plan", &BoundLaunch::plan, nb::sig("def plan(self) -> Plan"))
      .def_prop_ro("result", &BoundLaunch::result, nb::sig("def result(self) -> Result"), "What every run() returns.");
  add_method(bound_class, run_bound_definition);

  module.def("function", &function, nb::arg("name"),
             "A function of the public face by its name, without what its declaration says of it.");

  module.def(
      "operator_kernels", &operator_kernels, nb::arg("count_writes"), nb::arg("gradients_are_on"),
      nb::sig("def operator_kernels(count_writes: collections.abc.Callable[[list[typing.Any]], None], "
              "gradients_are_on: collections.abc.Callable[[], bool]) "
              "-> tuple[typing.Any, typing.Any, typing.Any, typing.Any]"),
      R"(What the operators of moe_act.torch run: the one that allocates its results, the one that is given them, and both
again for a few arguments, by position.

Args:
    count_writes: is told which tensors were written.
    gradients_are_on: whether tensors that require grad are refused.)");

  module.def("version", &moe_act_version);
  module.def("build_info", &moe_act_build_info, "One line: was CUDA compiled in, and for which architectures.");
  module.def("cuda_device_count", &moe_act_cuda_device_count,
             "How many CUDA devices are usable; 0 without CUDA, driver or device.");
  module.def("last_error", &moe_act_last_error);
  module.def("device_info", &device_info, nb::arg("device_id"),
             R"(What planning needs to know of a CUDA device.

Raises:
    ValueError: there is no such device.
    NotImplementedError: this build has no CUDA.
    RuntimeError: CUDA reported an error.)");
  module.def("cpu_level", &moe_act_get_cpu_level,
             "The instruction set that CPU kernels use: \"x86-64-v3\", for example.");
  module.def(
      "set_cpu_level", [](const Name& level) { check(moe_act_set_cpu_level(level ? level->c_str() : nullptr)); },
      nb::arg("level").none(),
      R"(Cap the instruction set of the CPU kernels, which no result depends on.

Args:
    level: "baseline", "x86-64-v3" or "x86-64-v4"; None for the best there is.

Raises:
    ValueError: an unknown level.
    NotImplementedError: this CPU lacks it.)");
}
