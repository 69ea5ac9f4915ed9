import Glibc
import Testing

@Suite("Keys, servers and one-off transfers", .serialized, .enabled(if: binary != nil))
struct TransferTests {
    private static let large = 256 << 20
    private static let sizes = [0, 1, 32_767, 32_768, 32_769, 1 << 20, 1 << 20 + 1, 5 << 20]

    @Test("files of every size come back as they went, with their modes and times")
    func files() throws {
        try onHost(mount: false) { host in
            try check(mkdir(host.local("back"), 0o755))
            for (index, size) in Self.sizes.enumerated() {
                let bytes = randomBytes(size, seed: UInt64(size))
                let (path, back) = (host.local("f\(size)"), host.local("back/f\(size)"))
                let mode = mode_t([0o644, 0o600, 0o755, 0o440][index % 4])
                try writeFile(path, bytes)
                try check(chmod(path, mode))
                try setTime(path, 1_234_567_890 + index, 123_456_789)
                let put = try host.lanfs("put", path, "f\(size)")
                try #require(put.status == 0, "\(put.errors)")
                let get = try host.lanfs("get", "f\(size)", host.local("back/"))
                try #require(get.status == 0, "\(get.errors)")
                let status = try status(back)
                try #require(try contents(back) == bytes, "a file of \(size) bytes came back changed")
                try #require(status.st_mode & 0o7777 == mode)
                try #require(status.st_mtim.tv_sec == 1_234_567_890 + index && status.st_mtim.tv_nsec == 123_456_789)
            }
            let listed = try host.lanfs("ls")
            try #require(listed.status == 0)
            let expected = Self.sizes.map { "f\($0)" }.sorted()
            try #require(listed.text.split(separator: "\n").map(String.init) == expected)
            try #require(try host.lanfs("rm", "f0", "f1").status == 0)
            try #require(try host.lanfs("ls").text.split(separator: "\n").count == Self.sizes.count - 2)
        }
    }

    @Test("a folder goes and comes back with all it contains")
    func folders() throws {
        try onHost(mount: false) { host in
            let tree = host.local("tree")
            for folder in [tree, tree + "/a", tree + "/a/empty"] { try check(mkdir(folder, 0o750)) }
            for index in 0..<50 { try writeFile(tree + "/a/f\(index)", randomBytes(index * 97, seed: UInt64(index))) }
            try writeFile(tree + "/big", randomBytes(2_500_000, seed: 9))
            try check(symlink("a/f7", tree + "/link"))
            for path in try paths(below: tree).reversed() { try setTime(tree + "/" + path, 1_111_111_111, 5) }
            let put = try host.lanfs("put", "-r", tree, "/copy")
            try #require(put.status == 0, "\(put.errors)")
            let get = try host.lanfs("get", "-r", "/copy", host.local("back"))
            try #require(get.status == 0, "\(get.errors)")
            try requireSameTree(tree, host.local("back"))
            try #require(try host.lanfs("rm", "/copy").status != 0, "a folder needs -r")
            try #require(try host.lanfs("rm", "-r", "/copy").status == 0)
            try #require(try host.lanfs("ls").text.isEmpty)
        }
    }

    @Test("what rm freed on a full server is room for the next put")
    func room() throws {
        try onHost(serve: ["--capacity", "64M"], mount: false) { host in
            try writeFile(host.local("f"), randomBytes(30 << 20, seed: 8))
            for round in 0..<3 {
                let put = try host.lanfs("put", host.local("f"), "f")
                try #require(put.status == 0, "round \(round): \(put.errors)")
                let removed = try host.lanfs("rm", "f")
                try #require(removed.status == 0, "round \(round): \(removed.errors)")
            }
        }
    }

    /// Starts `lanfs` on a slow line and kills it when three quarters of the file have crossed. A put has committed by then:
    /// within a second what it has read, and that is what has crossed and what memory holds.
    private func killed(_ command: String, _ arguments: [String], _ host: Host) throws {
        guard let binary else { throw Failure("no lanfs executable") }
        let relay = try Relay(to: host.serverPort, rate: 48 << 20)
        defer { relay.stop() }
        // Nobody answers on that port: all it says goes through the relay.
        let way = ["--server", "127.0.0.1:\(relay.port)", "--discovery-port", "\(try freePort())"]
        let child = try host.commands.start([binary, command] + way + arguments, log: command)
        let isInTime = eventually(.seconds(60)) { child.poll() != nil || relay.count >= Self.large / 4 * 3 }
        try #require(isInTime && child.poll() == nil, "\(readText(child.errors))")
        try child.killAndWait()
    }

    private func requireResumed(_ output: Output) throws {
        try #require(output.status == 0, "\(output.errors)")
        let words = output.text.split { !$0.isLetter && !$0.isNumber && $0 != "_" }
        let place = try #require(words.firstIndex(of: "resumed_bytes"), "\(output.text)")
        let resumed = try #require(Int(words[place + 1]))
        try #require(resumed >= 4 << 20 && resumed < Self.large, "\(output.text)")
    }

    @Test("put and get that are killed with -9 half way go on where they were")
    func resuming() throws {
        try onHost(mount: false) { host in
            let (path, back) = (host.local("f"), host.local("back"))
            try writeFile(path, randomBytes(Self.large, seed: 12))
            try killed("put", [path, "f"], host)
            try #require(try host.lanfs("ls").text.isEmpty, "half a file has no name")
            try requireResumed(try host.lanfs("put", "--json", path, "f"))
            try #require(try host.lanfs("ls", "-a").text == "f\n")
            try killed("get", ["f", back], host)
            try #require(!exists(back))
            try requireResumed(try host.lanfs("get", "--json", "f", back))
            try host.tool("cmp", path, back)
            try #require(try names(in: host.local("")) == [Array("back".utf8), Array("f".utf8)])
        }
    }

    @Test("standard input and output are files too")
    func streams() throws {
        try onHost(mount: false) { host in
            let bytes = randomBytes(3_000_001, seed: 4)
            try writeFile(host.local("f"), bytes)
            let put = try host.lanfs("put", "-", "streamed", input: host.local("f"))
            try #require(put.status == 0, "\(put.errors)")
            let get = try host.lanfs("get", "streamed", "-")
            try #require(get.status == 0, "\(get.errors)")
            try #require(try contents(get.outputFile) == bytes)
        }
    }

    private func checkMemory(_ output: Output, _ name: String) throws {
        try #require(output.status == 0, "\(output.errors)")
        try #require(output.peakMemory > 1 << 20 && output.peakMemory < 128 << 20, "\(name): \(output.peakMemory) bytes")
    }

    @Test("a large file takes little memory")
    func memory() throws {
        try onHost(mount: false, limit: .seconds(300)) { host in
            let (path, back, size) = (host.local("f"), host.local("back"), 600 << 20)
            try writeFile(path, [])
            let piece = randomBytes(8 << 20, seed: 6)
            let file = try check(open(path, O_WRONLY))
            for offset in stride(from: 0, to: size, by: piece.count) {
                try check(pwrite(file, piece, min(piece.count, size - offset), offset))
            }
            try check(close(file))
            try checkMemory(try host.lanfs("put", path, "f"), "put")
            try checkMemory(try host.lanfs("get", "f", back), "get")
            try host.tool("cmp", path, back)
        }
    }

    @Test("the exit status says what was wrong")
    func refusals() throws {
        try onHost(mount: false) { host in
            try writeFile(host.local("f"), [1])
            try writeFile(host.local("g"), [2])
            try #require(try host.lanfs("put", host.local("f"), "f").status == 0)
            try #require(try host.lanfs("put", host.local("g"), "f").status == 5)
            try #require(try host.lanfs("get", "f", host.local("g")).status == 5)
            try #require(try contents(host.local("g")) == [2])
            try #require(try host.lanfs("put", "-f", host.local("g"), "f").status == 0)
            try #require(try host.lanfs("get", "-f", "f", host.local("f")).status == 0)
            try #require(try contents(host.local("f")) == [2])
            try #require(try host.lanfs("get", "none", host.local("x")).status == 4)
            try #require(try host.lanfs("ls", "none").status == 4)
            try #require(!exists(host.local("x")))
            try #require(try host.lanfs("keygen").status == 5)
            try check(mkdir(host.local("home"), 0o700))
            try #require(try host.lanfs("ls", home: host.local("home")).status == 6)
            try #require(try host.lanfs("mount", "--serve", host.local("none"), home: host.local("home")).status == 4)
            try #require(try names(in: host.local("home")).isEmpty)
            try #require(try host.lanfs("discover", "--wait", "200ms", port: freePort()).status == 3)
            try #require(host.stopServer() == 0)
            try #require(try host.lanfs("ls", "--timeout", "1s").status == 3)
        }
    }

    @Test("a server is discovered, keeps its data to itself, and ends in time")
    func server() throws {
        try onHost(mount: false) { host in
            let found = try host.lanfs("discover", "--json")
            try #require(found.status == 0, "\(found.errors)")
            try #require(found.text.contains("\"fingerprint\":") && found.text.contains("\(host.serverPort)"))
            let second = try host.serveAgain()
            try #require(second.status != 0 && second.errors.contains(host.data), "\(second.errors)")
            try #require(host.stopServer() == 0)
        }
    }
}

/// Both folders hold the same: names, types, contents, link targets, modes, owners and times of modification.
func requireSameTree(_ one: String, _ other: String) throws {
    let all = try paths(below: one)
    try #require(try paths(below: other) == all)
    for path in all {
        let (a, b) = (try status(one + "/" + path), try status(other + "/" + path))
        let times = (a.st_mtim.tv_sec, a.st_mtim.tv_nsec) == (b.st_mtim.tv_sec, b.st_mtim.tv_nsec)
        let owners = (a.st_uid, a.st_gid) == (b.st_uid, b.st_gid)
        try #require(a.st_mode == b.st_mode && owners && times, "\(path) has another mode, owner or time")
        switch a.st_mode & S_IFMT {
        case S_IFREG:
            try #require(try contents(one + "/" + path) == contents(other + "/" + path), "\(path) differs")
        case S_IFLNK:
            try #require(try linkTarget(one + "/" + path) == linkTarget(other + "/" + path), "\(path) differs")
        default: break
        }
    }
}
