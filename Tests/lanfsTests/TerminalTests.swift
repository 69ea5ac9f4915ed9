import Glibc
import TestSupport
import Testing

@testable import lanfs

@Suite("Text from strangers on a terminal")
struct PrintableTests {
    @Test("control characters, direction marks and stray bytes are shown, not obeyed")
    func escapes() {
        #expect(Printable.text(Array("plain name.txt".utf8)) == "plain name.txt")
        #expect(Printable.text(Array("Ärger ☃ 日本".utf8)) == "Ärger ☃ 日本")
        #expect(Printable.text(Array("a\u{1B}[31mb\n".utf8)) == "a\\x1b[31mb\\x0a")
        #expect(Printable.text([0x61, 0xFF, 0xC3, 0x62, 0xE2, 0x82]) == "a\\xff\\xc3b\\xe2\\x82")
        #expect(Printable.text(Array("a\u{202E}b".utf8)) == "a\\xe2\\x80\\xaeb")
        #expect(Printable.text([0xC2, 0x9B, 0x7F]) == "\\xc2\\x9b\\x7f", "CSI in one character, and DEL")
        #expect(Printable.text([0xC0, 0x80, 0xED, 0xA0, 0x80]) == "\\xc0\\x80\\xed\\xa0\\x80", "overlong, surrogate")
        #expect(Printable.text([UInt8]()) == "")
    }

    @Test("what passes through is harmless, whatever the bytes")
    func random() {
        var random = SplitMix64(seed: 7)
        for _ in 0..<2_000 {
            let bytes = (0..<Int.random(in: 0..<24, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            let text = Printable.text(bytes)
            #expect(!Printable.needsEscape(Array(text.utf8)))
            #expect(Printable.needsEscape(bytes) == (Array(text.utf8) != bytes))
        }
    }

    @Test("width counts columns, not characters")
    func width() {
        #expect(DisplayWidth.of("abc") == 3 && DisplayWidth.of("äöü") == 3 && DisplayWidth.of("日本") == 4)
        #expect(DisplayWidth.of("e\u{301}") == 1 && DisplayWidth.of("") == 0)
        #expect(DisplayWidth.truncate("abcdef", to: 6) == "abcdef" && DisplayWidth.truncate("abcdef", to: 5) == "abcd…")
        #expect(DisplayWidth.truncate("日本語", to: 4) == "日…" && DisplayWidth.truncate("abc", to: 1) == "…")
        #expect(DisplayWidth.truncate("abc", to: 0) == "")
    }
}

@Suite("Sizes and times for people")
struct HumanSizeTests {
    @Test(
        "have three digits",
        arguments: [
            (0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1536, "1.50 KiB"), (10 * 1024, "10.0 KiB"),
            (102_348, "99.9 KiB"), (102_399, "100 KiB"), (1_048_064, "1.00 MiB"), (1_047_000, "1022 KiB"),
            (1 << 40, "1.00 TiB"),
            (UInt64.max, "16.0 EiB"),
        ] as [(UInt64, String)])
    func text(bytes: UInt64, text: String) { #expect(HumanSize.text(bytes) == text) }

    @Test(
        "in a listing are what ls -lh shows",
        arguments: [
            (0, "0"), (1, "1"), (1023, "1023"), (1024, "1.0K"), (1025, "1.1K"), (10_189, "10K"), (10_240, "10K"),
            (10_241, "11K"),
            (1_047_552, "1023K"), (1_047_553, "1.0M"), (3 << 29, "1.5G"), (UInt64.max, "16E"),
        ] as [(UInt64, String)])
    func compact(bytes: UInt64, text: String) { #expect(HumanSize.compact(bytes) == text) }

    @Test("times and rates")
    func times() {
        #expect(HumanSize.clock(seconds: 0) == "0:00" && HumanSize.clock(seconds: 67) == "1:07")
        #expect(HumanSize.clock(seconds: 3599) == "59:59" && HumanSize.clock(seconds: 3600) == "1:00:00")
        #expect(HumanSize.clock(seconds: 86_399) == "23:59:59" && HumanSize.clock(seconds: 183_600) == "2d 03h")
        #expect(HumanSize.rate(bytesPerSecond: .nan) == "0 B/s" && HumanSize.rate(bytesPerSecond: 1e30).hasSuffix("/s"))
        #expect(HumanSize.rate(bytesPerSecond: 117 * 1_048_576) == "117 MiB/s")
    }
}

@Suite("Progress")
struct ProgressTests {
    @Test("the line is never wider than the terminal, whatever the width", arguments: 1...130)
    func width(columns: Int) {
        for label in ["", "big.iso", "日本語のとても長い名前のファイル.iso", String(repeating: "long", count: 50)] {
            for total: UInt64? in [nil, 0, 1, 5 << 30, .max] {
                for done: UInt64 in [0, 1, 3 << 30, .max] {
                    for rate: Double? in [nil, 0, 0.5, 123_456_789, 1e300] {
                        let text = ProgressLine(label: label, done: done, total: total, rate: rate).text(
                            columns: columns)
                        #expect(DisplayWidth.of(text) <= columns, "\(text)")
                    }
                }
            }
        }
    }

    @Test("shows what there is room for")
    func snapshots() {
        let line = ProgressLine(label: "big.iso", done: 1 << 30, total: 4 << 30, rate: Double(64 << 20))
        #expect(
            line.text(columns: 90)
                == "big.iso  [#######---------------------]   25%  1.00 GiB of 4.00 GiB  64.0 MiB/s  0:48 left")
        #expect(line.text(columns: 60) == "big.iso   25%  1.00 GiB of 4.00 GiB  64.0 MiB/s  0:48 left")
        #expect(line.text(columns: 44) == "big.iso   25%  64.0 MiB/s  0:48 left")
        let unknown = ProgressLine(label: "-", done: 1 << 20, total: nil, rate: 1024)
        #expect(unknown.text(columns: 80) == "-  1.00 MiB  1.00 KiB/s")
    }

    @Test("the rate is that of the last seconds")
    func rate() {
        let start = ContinuousClock.now
        var estimate = RateEstimate(start: start)
        estimate.add(done: 100, at: start + .milliseconds(400))
        #expect(estimate.bytesPerSecond == nil)
        for second in 1...20 { estimate.add(done: UInt64(second) * 1000, at: start + .seconds(second)) }
        #expect(estimate.bytesPerSecond.map { abs($0 - 1000) < 1 } == true)
        for second in 21...40 { estimate.add(done: 20_000, at: start + .seconds(second)) }
        #expect(estimate.bytesPerSecond == 0)
        estimate.add(done: 0, at: start + .seconds(41))
        #expect(estimate.bytesPerSecond == nil, "going back is no rate")
    }

    @Test("is drawn on a terminal only, ten times a second at most, and erased")
    func meter() throws {
        let terminal = try PseudoTerminal()
        let start = ContinuousClock.now
        let meter = ProgressMeter(
            label: Array("a\u{1B}b".utf8), total: 1000, verbosity: .normal, descriptor: terminal.inner, now: start)
        for step in 1...100 { meter.update(done: UInt64(step), now: start + .milliseconds(step)) }
        meter.update(done: 500, now: start + .seconds(1))
        meter.finish()
        let text = terminal.drain()
        #expect(text.split(separator: "\r").count == 3, "\(text.debugDescription)")
        #expect(text.contains("a\\x1bb") && text.contains(" 50%") && text.hasSuffix("\r\u{1B}[K"))

        for (verbosity, descriptor) in [
            (CommonOptions.Verbosity.quiet, terminal.inner), (.normal, try openForWriting("/dev/null")),
        ] {
            let silent = ProgressMeter(label: [], total: 1, verbosity: verbosity, descriptor: descriptor, now: start)
            silent.update(done: 1, now: start + .seconds(1))
            silent.finish()
        }
        #expect(terminal.drain() == "")
    }
}

@Suite("Tables and columns")
struct TextTableTests {
    @Test("columns are aligned by what is seen")
    func table() {
        var table = TextTable([.left, .right, .left])
        table.add(["name", "size", "end"])
        table.add(["日本", "10", ""])
        table.add(["x"])
        #expect(table.text == "name  size  end\n日本    10\nx\n")
        #expect(TextTable([.left]).text == "")
    }

    @Test("names stand side by side, down the columns, as in ls")
    func grid() {
        #expect(TextTable.grid([], columns: 80) == "")
        #expect(TextTable.grid(["a", "b", "c"], columns: 80) == "a  b  c\n")
        #expect(TextTable.grid(["aaaa", "b", "c", "dddd", "e"], columns: 14) == "aaaa  c     e\nb     dddd\n")
        #expect(TextTable.grid(["aaaaaaaaaa", "b"], columns: 5) == "aaaaaaaaaa\nb\n")
        for width in 1...60 {
            let names = (0..<23).map { String(repeating: "n", count: $0 % 7 + 1) }
            let lines = TextTable.grid(names, columns: width).split(separator: "\n")
            #expect(lines.allSatisfy { $0.count <= max(width, 7) })
            #expect(lines.flatMap { $0.split(separator: " ") }.count == names.count)
        }
    }
}

@Suite("JSON")
struct JSONTests {
    @Test("strings are escaped")
    func strings() {
        #expect(
            JSONValue.string("a\"b\\c\n\r\t\u{0}\u{1F}\u{7F}é☃😀/").text == #""a\"b\\c\n\r\t\u0000\u001f\u007fé☃😀/""#)
        #expect(JSONValue.string("").text == "\"\"")
    }

    @Test("values nest")
    func values() {
        let value = JSONValue.object([
            .init("a", .array([.null, .bool(true), .bool(false), .integer(.min), .unsigned(.max)])),
            .init("b\n", .object([])),
            .init("c", .array([])),
        ])
        #expect(value.text == #"{"a":[null,true,false,-9223372036854775808,18446744073709551615],"b\n":{},"c":[]}"#)
    }

    @Test("names that are not UTF-8 keep their bytes in a second field")
    func names() {
        var members: [JSONValue.Member] = []
        members.append("path", bytes: Array("/é".utf8))
        #expect(JSONValue.object(members).text == #"{"path":"/é"}"#)
        members = []
        members.append("path", bytes: [0x2F, 0xFF])
        #expect(JSONValue.object(members).text == #"{"path":"/�","path_base64":"L/8="}"#)
    }

    @Test(
        "base64 is that of RFC 4648",
        arguments: [
            ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ])
    func base64Vectors(text: String, encoded: String) { #expect(base64(Array(text.utf8)) == encoded) }

    @Test("what is written is what python reads", .enabled(if: isInstalled("python3")))
    func independentReader() throws {
        var random = SplitMix64(seed: 11)
        var members: [JSONValue.Member] = []
        var expected: [String] = []
        for index in 0..<200 {
            let bytes = (0..<Int.random(in: 0..<12, using: &random)).map { _ in
                UInt8.random(in: 1...255, using: &random)
            }
            members.append("n\(index)", bytes: bytes)
            expected.append(bytes.map(Printable.hexadecimal).joined())
        }
        let line = JSONValue.object(members).text
        let program = """
            import sys, json, base64
            d = json.loads(sys.stdin.buffer.read().decode("utf-8"))
            for i in range(200):
                n = "n%d" % i
                print((base64.b64decode(d[n + "_base64"]) if n + "_base64" in d else d[n].encode("utf-8")).hex())
            """
        let result = try shell("printf %s \(ShellText.quoted(line)) | python3 -c \(ShellText.quoted(program))")
        #expect(
            result.output.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init)
                == expected)
    }
}
