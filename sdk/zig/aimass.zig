//! The SDK of AI Mass for Zig plugins of the world `processor`: `vendor/sdk/c/aimass.h` in Zig's terms.
//!
//! A plugin declares `describe`, `process` and, if it has a configuration, `init`. Memory comes from `alloc` and
//! is never given back: each call runs in a fresh instance whose memory ends with it.

/// The error has been written to where the host reads it; return it.
pub const Failure = error{Plugin};

/// Who has to act on an error; only `input` reaches the client as its own fault (HTTP 400).
pub const Family = enum(c_int) { input, not_found, limit, unsupported, forbidden, cancelled, deadline, unavailable, internal };

/// Element types, as the contract numbers them.
pub const DType = enum(c_int) {
    bool, i4, u4, i8, u8, i16, u16, i32, u32, i64, u64, f8_e4m3, f8_e5m2, f8_e4m3_fnuz, f8_e5m2_fnuz, bf16, f16, f32, f64, bytes,
    /// Only in a signature: any element type.
    any = 255,
    _,
};

/// Bytes as C hands them over; UTF-8 where they are text.
pub const Text = extern struct {
    data: [*]const u8,
    len: usize,

    /// The text of a slice.
    pub fn of(bytes: []const u8) Text {
        return .{ .data = bytes.ptr, .len = bytes.len };
    }

    /// The slice of a text.
    pub fn slice(text: Text) []const u8 {
        return text.data[0..text.len];
    }
};

/// What went wrong.
pub const Error = extern struct {
    family: Family = .internal,
    code: Text = .{ .data = "no-error", .len = 8 },
    message: Text = .{ .data = "", .len = 0 },

    /// Fills the error. `code` is kebab-case, at most 64 bytes; `message` says what was expected.
    pub fn fail(failure: *Error, family: Family, code: []const u8, message: []const u8) Failure {
        failure.* = .{ .family = family, .code = Text.of(code), .message = Text.of(message) };
        return error.Plugin;
    }
};

/// Inputs and outputs of a plugin.
pub const Signature = opaque {
    /// Adds an input; `dims` null accepts any shape.
    pub fn input(signature: *Signature, name: []const u8, dtype: DType, dims: ?[]const Dim) void {
        aimass_input(signature, Text.of(name), dtype, pointer(dims), length(dims));
    }

    /// Adds an output; `dims` null accepts any shape.
    pub fn output(signature: *Signature, name: []const u8, dtype: DType, dims: ?[]const Dim) void {
        aimass_output(signature, Text.of(name), dtype, pointer(dims), length(dims));
    }
};

fn pointer(dims: ?[]const Dim) ?[*]const Dim {
    return if (dims) |some| some.ptr else null;
}

fn length(dims: ?[]const Dim) usize {
    return if (dims) |some| some.len else 0;
}

/// One dimension, with the class that decides what may be batched.
pub const Dim = extern struct {
    class: enum(u8) { fixed, batch, ragged, dynamic },
    value: extern union { extent: u64, name: Text },

    /// Independent items, one row each.
    pub const batch: Dim = .{ .class = .batch, .value = .{ .extent = 0 } };

    /// A fixed extent.
    pub fn fixed(extent: u64) Dim {
        return .{ .class = .fixed, .value = .{ .extent = extent } };
    }

    /// Any extent; equal names mean equal extents within one call.
    pub fn dynamic(name: []const u8) Dim {
        return .{ .class = .dynamic, .value = .{ .name = Text.of(name) } };
    }
};

/// A parameter of a request.
pub const Parameter = extern struct {
    name: Text,
    class: enum(u8) { boolean, integer, float, text, integers },
    value: extern union { boolean: bool, integer: i64, number: f64, text: Text },
};

/// All parameters of a request.
pub const Parameters = extern struct { items: [*]const Parameter, len: usize };

/// A tensor with its name.
pub const NamedTensor = extern struct { name: Text, value: Tensor };

/// Named tensors: inputs of a call, or its outputs.
pub const Tensors = extern struct { items: [*]NamedTensor, len: usize };

/// Strings one after the other.
pub const Texts = extern struct {
    items: [*]Text,
    len: usize,

    /// The strings as a slice.
    pub fn slice(texts: Texts) []Text {
        return texts.items[0..texts.len];
    }
};

/// What `init` is handed; it may fail once.
pub const Init = struct {
    failure: Error = .{},

    /// The configuration as JSON, which the host has checked. Needs the capability `config`.
    pub fn config(_: *Init) []const u8 {
        return aimass_config().slice();
    }

    /// The strings of the array `key` of the configuration; none if it is not there.
    pub fn configStrings(_: *Init, key: []const u8) []Text {
        return aimass_json_strings(aimass_config(), Text.of(key)).slice();
    }

    /// Tells the host that the plugin cannot start.
    pub fn reject(call: *Init) void {
        aimass_reject(&call.failure);
    }
};

/// One request.
pub const Call = struct {
    inputs: *const Tensors,
    parameters: *const Parameters,
    outputs: *Tensors,
    failure: *Error,

    /// The input of this name. Errors: `input/missing-input`.
    pub fn input(call: *Call, name: []const u8) Failure!Tensor {
        var found: Tensor = undefined;
        if (!aimass_get(call.inputs, Text.of(name), &found, call.failure)) return error.Plugin;
        return found;
    }

    /// The parameter of this name.
    pub fn parameter(call: *Call, name: []const u8) ?*const Parameter {
        return aimass_parameter_of(call.parameters, Text.of(name));
    }

    /// Adds an output; its handle goes to the host. At most 64.
    pub fn output(call: *Call, name: []const u8, value: Tensor) void {
        aimass_put(call.outputs, Text.of(name), value);
    }

    /// The error of this call; return it.
    pub fn fail(call: *Call, family: Family, code: []const u8, message: []const u8) Failure {
        return call.failure.fail(family, code, message);
    }

    /// A tensor of these numbers. Errors: `input/byte-count`, `input/shape`, `limit/host-bytes`.
    pub fn tensor(call: *Call, dtype: DType, dims: []const u64, bytes: []const u8) Failure!Tensor {
        var made: Tensor = undefined;
        if (!aimass_tensor_create(dtype, dims.ptr, dims.len, Text.of(bytes), &made, call.failure)) return error.Plugin;
        return made;
    }

    /// A `bytes` tensor of these strings. Errors: `input/shape`, `limit/host-bytes`.
    pub fn strings(call: *Call, dims: []const u64, from: []const Text) Failure!Tensor {
        var made: Tensor = undefined;
        const all: Texts = .{ .items = @constCast(from.ptr), .len = from.len };
        if (!aimass_tensor_create_texts(dims.ptr, dims.len, all, &made, call.failure)) return error.Plugin;
        return made;
    }

    /// The strings of a `bytes` tensor. Errors: `input/dtype`.
    pub fn texts(call: *Call, from: Tensor) Failure![]Text {
        var found: Texts = undefined;
        if (!aimass_tensor_texts(from, &found, call.failure)) return error.Plugin;
        return found.slice();
    }

    /// The 32-bit floats of a tensor, row-major: one copy. Errors: `input/dtype`.
    pub fn floats(call: *Call, from: Tensor) Failure![]const f32 {
        var elements: [*]const f32 = undefined;
        var count: usize = 0;
        if (!aimass_tensor_f32(from, &elements, &count, call.failure)) return error.Plugin;
        return elements[0..count];
    }

    /// Runs an op of the host with one output on these tensors. Errors: `unsupported/op`, those of the op.
    pub fn run(call: *Call, op: []const u8, on: []const Tensor) Failure!Tensor {
        var made: Tensor = undefined;
        if (!aimass_run_op(Text.of(op), on.ptr, on.len, &made, call.failure)) return error.Plugin;
        return made;
    }
};

/// A handle of an immutable tensor in host memory.
pub const Tensor = enum(i32) {
    _,

    /// Element type.
    pub fn dtype(tensor: Tensor) DType {
        return aimass_tensor_dtype(tensor);
    }

    /// Extents, outermost first, in `buffer`.
    pub fn shape(tensor: Tensor, buffer: *[8]u64) []const u64 {
        return buffer[0..aimass_tensor_shape(tensor, buffer)];
    }
};

/// Whether `bytes` are UTF-8.
pub fn isUtf8(bytes: []const u8) bool {
    return aimass_utf8_valid(Text.of(bytes)) == bytes.len;
}

/// `count` zeroed items. Traps when the memory limit is reached.
pub fn alloc(comptime T: type, count: usize) []T {
    const items: [*]T = @ptrCast(@alignCast(aimass_alloc(count * @sizeOf(T))));
    return items[0..count];
}

extern fn aimass_alloc(bytes: usize) *anyopaque;
extern fn aimass_utf8_valid(text: Text) usize;
extern fn aimass_config() Text;
extern fn aimass_json_strings(json: Text, key: Text) Texts;
extern fn aimass_reject(failure: *const Error) void;
extern fn aimass_input(signature: *Signature, name: Text, dtype: DType, dims: ?[*]const Dim, rank: usize) void;
extern fn aimass_output(signature: *Signature, name: Text, dtype: DType, dims: ?[*]const Dim, rank: usize) void;
extern fn aimass_get(inputs: *const Tensors, name: Text, found: *Tensor, failure: *Error) bool;
extern fn aimass_parameter_of(parameters: *const Parameters, name: Text) ?*const Parameter;
extern fn aimass_put(outputs: *Tensors, name: Text, value: Tensor) void;
extern fn aimass_tensor_dtype(tensor: Tensor) DType;
extern fn aimass_tensor_shape(tensor: Tensor, shape: *[8]u64) usize;
extern fn aimass_tensor_f32(tensor: Tensor, elements: *[*]const f32, count: *usize, failure: *Error) bool;
extern fn aimass_tensor_texts(tensor: Tensor, texts: *Texts, failure: *Error) bool;
extern fn aimass_tensor_create(dtype: DType, shape: [*]const u64, rank: usize, bytes: Text, made: *Tensor, failure: *Error) bool;
extern fn aimass_tensor_create_texts(shape: [*]const u64, rank: usize, from: Texts, made: *Tensor, failure: *Error) bool;
extern fn aimass_run_op(op: Text, inputs: [*]const Tensor, count: usize, made: *Tensor, failure: *Error) bool;
