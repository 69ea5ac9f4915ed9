import Testing

@testable import lanfs

@Suite("Sizes")
struct ByteSizeTests {
    @Test(
        "are read exactly",
        arguments: [
            ("0", 0), ("1", 1), ("4096", 4096), ("10B", 10), ("1K", 1024), ("1k", 1024), ("1KiB", 1024), ("1kib", 1024),
            ("1KB", 1000), ("10G", 10 << 30), ("512MiB", 512 << 20), ("512MB", 512_000_000), ("1.5T", 3 << 39),
            ("0.5K", 512), ("1.1K", 1126), ("2P", 2 << 50), ("7E", 7 << 60),
            ("7.999999999999E", 9_223_372_036_853_622_886),
            ("1EB", 1_000_000_000_000_000_000), ("9223372036854775807", UInt64(Int64.max)), ("007M", 7 << 20),
            ("0.000000000000000001E", 1), ("00000000000000000000000000001", 1),
        ] as [(String, UInt64)])
    func read(text: String, bytes: UInt64) throws {
        #expect(try value(text, as: ByteSize.self).bytes == bytes)
    }

    @Test(
        "that are none are refused",
        arguments: [
            "", "G", "K1", "1 G", " 1", "1G ", "+1", "0x10", "1e9", "1,5T", "1.T", ".5T", "1..5T", "1.5.1T", "1Q",
            "1KK", "1Ki",
            "1iB", "1KiBs", "1BB", "∞", "1\u{661}", "18446744073709551616", "1.0000000000000000000000000001G",
        ])
    func refuse(text: String) {
        #expect(
            complaint(Argument(text), as: ByteSize.self)?.contains("is not a size; write one like 512MiB, 10G or 1.5T")
                == true)
    }

    @Test("that are negative, fractions of a byte or too large say so")
    func explain() {
        #expect(complaint("-1G", as: ByteSize.self) == "'-1G' is negative; a size is 0 or more")
        #expect(complaint("1.5", as: ByteSize.self) == "'1.5' is not a whole number of bytes; add a unit, as in 1.5G")
        #expect(complaint("1.5B", as: ByteSize.self)?.contains("whole number") == true)
        for text: Argument in ["8E", "9223372036854775808", "18446744073709551615", "16E", "99999999999E", "9.3EB"] {
            #expect(complaint(text, as: ByteSize.self)?.contains("too large") == true, "\(text.shown)")
        }
        #expect(complaint(Argument([0x31, 0xFF]), as: ByteSize.self)?.hasPrefix("'1\\xff' is not a size") == true)
    }

    @Test(
        "are written so that they read back",
        arguments: [0, 1, 1023, 1024, 1025, 3 << 20, 1 << 30, 5 << 40, 7 << 60, (1 << 62) + 1])
    func writeBack(bytes: UInt64) throws {
        #expect(try value(ByteSize(bytes: bytes).description, as: ByteSize.self).bytes == bytes)
    }
}

@Suite("Durations")
struct DurationTests {
    @Test(
        "are read exactly",
        arguments: [
            ("0", .zero), ("0s", .zero), ("30s", .seconds(30)), ("15m", .seconds(900)), ("24h", .seconds(86_400)),
            ("500ms", .milliseconds(500)), ("7d", .seconds(604_800)), ("1h30m", .seconds(5400)),
            ("1.5h", .seconds(5400)),
            ("2m0.5s", .milliseconds(120_500)), ("1us", .microseconds(1)), ("1ns", .nanoseconds(1)), ("0.1ns", .zero),
            ("36500d", .seconds(3_153_600_000)), ("1d2h3m4s5ms6us7ns", .nanoseconds(93_784_005_006_007)),
        ] as [(String, Duration)])
    func read(text: String, duration: Duration) throws {
        #expect(try value(text, as: Duration.self) == duration)
    }

    @Test(
        "that are none are refused",
        arguments: [
            "", "s", "1x", "1 s", "1S", "30sec", "1h30", "1.h", ".5h", "30m1h", "1s1s", "1h,", "1µs", "00h1", "1e3s",
            "inf",
        ])
    func refuse(text: String) {
        #expect(
            complaint(Argument(text), as: Duration.self)?.contains(
                "is not a duration; write one like 500ms, 30s, 15m, 24h or 7d") == true,
            "\(complaint(Argument(text), as: Duration.self) ?? "accepted")")
    }

    @Test("without a unit, negative or too long say so")
    func explain() {
        #expect(
            complaint("24", as: Duration.self)
                == "'24' has no unit; write 24s for seconds, m for minutes or h for hours")
        #expect(complaint("1.5", as: Duration.self)?.contains("has no unit") == true)
        #expect(complaint("-1s", as: Duration.self) == "'-1s' is negative; a duration is 0 or more")
        for text: Argument in [
            "36501d", "36500d1ns", "9223372036854775807ns", "9223372036854775808ns", "99999999999999d",
        ] {
            #expect(complaint(text, as: Duration.self)?.contains("too long") == true, "\(text.shown)")
        }
    }
}

@Suite("Addresses, names and paths")
struct NameTests {
    @Test(
        "servers are read",
        arguments: [
            ("nas", "nas", nil), ("nas:4445", "nas", 4445), ("nas.example.:1", "nas.example.", 1),
            ("10.0.0.1", "10.0.0.1", nil),
            ("10.0.0.1:65535", "10.0.0.1", 65535), ("::1", "::1", nil), ("[::1]", "::1", nil), ("[::1]:9", "::1", 9),
            ("fe80::1%eth0", "fe80::1%eth0", nil), ("[fe80::1%eth0]:9", "fe80::1%eth0", 9),
            ("my_host-2", "my_host-2", nil),
        ] as [(String, String, UInt16?)])
    func servers(text: String, host: String, port: UInt16?) throws {
        let server: HostPort = try value(text)
        #expect(server == HostPort(host: host, port: port))
        #expect(try value(server.description, as: HostPort.self) == server)
    }

    @Test(
        "what is no server is refused",
        arguments: [
            "", ":", ":80", "nas:", "nas:0", "nas:65536", "nas:-1", "nas:80x", "nas:+80", "a b", "user@nas",
            "http://nas", "nas/x",
            "[::1", "::1]", "[nas]:1", "[::1]x", "[::1]:", "1:2:3", "10.0.0", "10.0.0.256", "300.1.1.1", "-nas",
            "nas..x", "fe80::1%",
            "fe80::1%a/b", "[fe80::1%et h]", "nas\u{7}", "12345",
        ])
    func noServers(text: String) {
        #expect(complaint(Argument(text), as: HostPort.self) != nil)
    }

    @Test("ports have their limits")
    func ports() throws {
        #expect(try value("1", as: Port.self) == Port(1) && value("65535", as: Port.self) == Port(65535))
        #expect(try value("0", as: ListenPort.self) == .chosenBySystem)
        for text: Argument in ["", "0", "65536", "-1", "+1", "4k", "1.0", " 1", "99999999999999999999"] {
            #expect(
                complaint(text, as: Port.self)?.hasSuffix("is not a port; ports are numbers from 1 to 65535") == true)
        }
        #expect(complaint("65536", as: ListenPort.self)?.hasSuffix("or 0 for any free one") == true)
        #expect(complaint("localhost", as: ListenAddress.self)?.contains("192.168.1.10") == true)
        #expect(complaint("10.0.0.1:80", as: ListenAddress.self) != nil)
    }

    @Test("keys are names or files")
    func keys() throws {
        #expect(try value("work", as: KeyReference.self) == .named("work"))
        #expect(try value("a.b-c_9", as: KeyReference.self) == .named("a.b-c_9"))
        #expect(try value("work.key", as: KeyReference.self) == .file(LocalPath(Array("work.key".utf8))))
        #expect(complaint(Argument([0x2F, 0xFF]), as: KeyReference.self)?.hasSuffix("must be") == true)
        #expect(complaint(Argument([0x2F, 0xFF]), as: LocalFolder.self) != nil)
        #expect(complaint(Argument([0x2F, 0xFF]), as: LocalPath.self) == nil)
        #expect(try value("./work", as: KeyReference.self) == .file(LocalPath(Array("./work".utf8))))
        for text: Argument in [
            "", ".", "..", ".hidden", "-x", "a b", "ü", "a\nb", Argument(String(repeating: "a", count: 65)),
            Argument([0xFF]),
        ] {
            #expect(complaint(text, as: KeyReference.self) != nil, "\(text.shown)")
        }
        #expect(complaint("alice\u{1B}[0m", as: UserName.self)?.contains("control characters") == true)
        #expect(complaint(Argument([0x61, 0xFF]), as: UserName.self) == "'a\\xff' is not valid UTF-8")
        #expect(try value("Ünï ☃", as: UserName.self).name == "Ünï ☃")
        #expect(complaint(Argument(String(repeating: "n", count: 64)), as: ServerName.self) != nil)
        #expect(try value(String(repeating: "n", count: 63), as: ServerName.self).name.count == 63)
    }

    @Test("volume ids and quotas")
    func admissions() throws {
        let digits = String(repeating: "Ab", count: 32)
        #expect(try value(digits, as: Admission.self) == value("\(digits.lowercased())", as: Admission.self))
        #expect(try value("\(digits):1M", as: Admission.self).quota == .mebibytes(1))
        for text in [
            "", ":", digits + "a", String(digits.dropLast(2)), digits + "ab", digits.dropLast() + "g", digits + ":",
            digits + ":0", digits + ":x",
        ] {
            #expect(complaint(Argument(text), as: Admission.self) != nil, "\(text)")
        }
    }

    @Test("paths in the volume start at its root and hold any bytes")
    func volumePaths() throws {
        func path(_ bytes: [UInt8]) throws -> VolumePath { try VolumePath(argument: Argument(bytes)) }
        #expect(try value("/", as: VolumePath.self) == .root && value(".", as: VolumePath.self) == .root)
        #expect(try value("a/b", as: VolumePath.self) == value("//a/./b", as: VolumePath.self))
        #expect(try !value("a/b", as: VolumePath.self).namesFolder)
        #expect(try value("a/b/", as: VolumePath.self).namesFolder && value("a/b/.", as: VolumePath.self).namesFolder)
        #expect(try path([0xFF, 0x2F, 0x0A]).components == [[0xFF], [0x0A]])
        #expect(try path([0xFF, 0x2F, 0x0A]).shown == "/\\xff/\\x0a")
        #expect(try path([UInt8](repeating: 0x61, count: 255)).components[0].count == 255)
        #expect(throws: BadValue.self) { try path([UInt8](repeating: 0x61, count: 256)) }
        #expect(throws: BadValue.self) { try path([UInt8](repeating: 0x2F, count: 4096)) }
        #expect(throws: BadValue.self) { try path([0x61, 0]) }
        for text: Argument in ["..", "a/..", "../a", "a/../b"] {
            #expect(complaint(text, as: VolumePath.self)?.contains("'..'") == true)
        }
        #expect(try value("...", as: VolumePath.self).components.count == 1)
    }

    @Test("paths of this machine know their last name")
    func localPaths() throws {
        func last(_ text: String) throws -> String? {
            try value(text, as: LocalPath.self).lastComponent.map { String(decoding: $0, as: UTF8.self) }
        }
        #expect(try last("a/b") == "b" && last("a/b//") == "b" && last("b") == "b")
        #expect(try last("/") == nil && last("..") == nil && last("a/.") == nil)
        #expect(complaint(Argument([UInt8](repeating: 0x61, count: 4096)), as: LocalPath.self) != nil)
    }
}

@Suite("The nearest word")
struct NearestWordTests {
    @Test("distances count additions, omissions, changes and swaps")
    func distances() {
        func distance(_ left: String, _ right: String) -> Int {
            NearestWord.distance(Array(left.utf8), Array(right.utf8))
        }
        #expect(
            distance("", "") == 0 && distance("", "abc") == 3 && distance("abc", "") == 3 && distance("abc", "abc") == 0
        )
        #expect(distance("abc", "abd") == 1 && distance("abc", "ab") == 1 && distance("abc", "xabc") == 1)
        #expect(distance("abc", "acb") == 1 && distance("abcd", "badc") == 2 && distance("kitten", "sitting") == 3)
    }

    @Test("is found when it is near and only then")
    func find() {
        let words = ["serve", "discover", "mount", "put", "get", "ls", "rm", "keygen"]
        #expect(NearestWord.find("sreve", among: words) == "serve")
        #expect(NearestWord.find("discovr", among: words) == "discover")
        #expect(NearestWord.find("disc", among: words) == "discover")
        #expect(NearestWord.find("mounts", among: words) == "mount")
        #expect(NearestWord.find("lss", among: words) == "ls")
        #expect(NearestWord.find("xyz", among: words) == nil)
        #expect(NearestWord.find("", among: words) == nil)
        #expect(NearestWord.find(String(repeating: "serve", count: 100_000), among: words) == nil)
    }
}
