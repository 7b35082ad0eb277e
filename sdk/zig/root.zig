//! Hands the functions that `aimass.c` calls on to the plugin's own.
const aimass = @import("aimass");
const plugin = @import("plugin");

/// A failed check of the language traps; the host names the plugin and the function.
pub const panic = @import("std").debug.no_panic;

export fn plugin_init() void {
    if (@hasDecl(plugin, "init")) {
        var call: aimass.Init = .{};
        plugin.init(&call) catch call.reject();
    }
}

export fn plugin_describe(signature: *aimass.Signature) void {
    plugin.describe(signature);
}

export fn plugin_process(
    inputs: *const aimass.Tensors,
    parameters: *const aimass.Parameters,
    outputs: *aimass.Tensors,
    failure: *aimass.Error,
) bool {
    var call: aimass.Call = .{ .inputs = inputs, .parameters = parameters, .outputs = outputs, .failure = failure };
    plugin.process(&call) catch return false;
    return true;
}
