//! Replaces the words of a list: `text` [batch] to `redacted` [batch].
//!
//! `init` runs once for a configuration; every request then starts from the memory that it left. Words are ASCII
//! letters, digits, `_` and everything beyond ASCII; case is ignored within ASCII.
const aimass = @import("aimass");

const mask_bytes_max = 16;

var words: []const aimass.Text = &.{};

pub fn init(call: *aimass.Init) aimass.Failure!void {
    words = call.configStrings("words");
}

pub fn describe(signature: *aimass.Signature) void {
    signature.input("text", .bytes, &.{aimass.Dim.batch});
    signature.output("redacted", .bytes, &.{aimass.Dim.batch});
}

pub fn process(call: *aimass.Call) aimass.Failure!void {
    const mask = try maskOf(call);
    const text = try call.input("text");
    const texts = try call.texts(text);
    for (texts) |*item| {
        if (!aimass.isUtf8(item.slice())) return call.fail(.input, "utf-8", "text: expected UTF-8");
        item.* = aimass.Text.of(redact(item.slice(), mask));
    }
    var shape: [8]u64 = undefined;
    call.output("redacted", try call.strings(text.shape(&shape), texts));
}

fn maskOf(call: *aimass.Call) aimass.Failure![]const u8 {
    const given = call.parameter("mask") orelse return "***";
    if (given.class == .text) {
        const mask = given.value.text.slice();
        if (mask.len >= 1 and mask.len <= mask_bytes_max) return mask;
    }
    return call.fail(.input, "parameter", "mask: expected a text of 1 to 16 bytes");
}

fn redact(text: []const u8, mask: []const u8) []const u8 {
    const out = aimass.alloc(u8, redactInto(null, text, mask));
    _ = redactInto(out, text, mask);
    return out;
}

/// The redacted text into `out`, or only its length if `out` is null.
fn redactInto(out: ?[]u8, text: []const u8, mask: []const u8) usize {
    var len: usize = 0;
    var start: usize = 0;
    while (start < text.len) {
        const end = runEnd(text, start);
        var part = text[start..end];
        if (isWord(part[0]) and isListed(part)) part = mask;
        if (out) |buffer| @memcpy(buffer[len..][0..part.len], part);
        len += part.len;
        start = end;
    }
    return len;
}

/// End of the run of word characters, or of other characters, that begins at `start`.
fn runEnd(text: []const u8, start: usize) usize {
    var end = start;
    while (end < text.len and isWord(text[end]) == isWord(text[start])) end += 1;
    return end;
}

fn isListed(word: []const u8) bool {
    for (words) |item| {
        if (equalIgnoringCase(item.slice(), word)) return true;
    }
    return false;
}

fn equalIgnoringCase(a: []const u8, b: []const u8) bool {
    if (a.len != b.len) return false;
    for (a, b) |x, y| {
        if (lower(x) != lower(y)) return false;
    }
    return true;
}

fn isWord(c: u8) bool {
    return switch (c) {
        'a'...'z', 'A'...'Z', '0'...'9', '_', 0x80...0xFF => true,
        else => false,
    };
}

fn lower(c: u8) u8 {
    return if (c >= 'A' and c <= 'Z') c | 32 else c;
}
