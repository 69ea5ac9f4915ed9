import Glibc
import TestSupport
import Testing

@Suite("Ordinary programs on a mounted volume", .serialized, .enabled(if: Machine.canMount))
struct ApplicationTests {
    @Test("git commits, clones, checks and packs", .enabled(if: Machine.has("git")))
    func git() throws {
        try onHost(limit: .seconds(300)) { host in
            let (one, two) = (host("one"), host("two"))
            try host.tool("git", "init", "-q", one)
            for folder in 0..<50 {
                try check(mkdir(one + "/d\(folder)", 0o755))
                for file in 0..<50 {
                    let bytes = randomBytes(100 + file * 101, seed: UInt64(folder * 100 + file))
                    try writeFile(one + "/d\(folder)/f\(file)", bytes)
                }
            }
            try host.tool("git", "-C", one, "add", "-A")
            try host.tool("git", "-C", one, "commit", "-q", "-m", "all")
            try host.tool("git", "clone", "-q", one, two)
            try host.tool("git", "-C", two, "gc", "-q")
            for round in 0..<2 {
                if round == 1 { try host.remount() }
                for repository in [one, two] {
                    try host.tool("git", "-C", repository, "fsck", "--full", "--strict")
                    try #require(try host.tool("git", "-C", repository, "status", "--porcelain").isEmpty)
                    try #require(try host.tool("git", "-C", repository, "ls-files").split(separator: "\n").count == 2500)
                }
            }
        }
    }

    @Test("sqlite keeps its transactions", .enabled(if: Machine.has("sqlite3")), arguments: ["delete", "wal"])
    func sqlite(_ journal: String) throws {
        try onHost { host in
            var script = "PRAGMA journal_mode=\(journal);\nCREATE TABLE t(i INTEGER PRIMARY KEY, b BLOB);\n"
            for number in 1...200 {
                script += "BEGIN; INSERT INTO t VALUES(\(number), randomblob(\(number * 13)));"
                script += "UPDATE t SET b = randomblob(50) WHERE i = \(number / 2); COMMIT;\n"
            }
            try writeFile(host.local("script"), Array(script.utf8))
            try host.tool("sqlite3", "-bail", host("base"), input: host.local("script"))
            for round in 0..<2 {
                if round == 1 { try host.remount() }
                let query = "PRAGMA integrity_check; SELECT count(*), sum(i) FROM t;"
                try #require(try host.tool("sqlite3", host("base"), query) == "ok\n200|20100\n")
            }
        }
    }

    @Test("an archive of 20,000 files unpacks to what was packed", .enabled(if: Machine.has("tar")))
    func tar() throws {
        try onHost(limit: .seconds(600)) { host in
            let source = host.local("source")
            try Self.makeTree(source, files: 20_000)
            try host.tool("tar", "-C", source, "--format=posix", "-cf", host.local("a.tar"), ".", limit: .seconds(200))
            try check(mkdir(host("out"), 0o755))
            try host.tool("tar", "-C", host("out"), "-xpf", host.local("a.tar"), limit: .seconds(200))
            try host.remount()
            try requireSameTree(source, host("out"))
        }
    }

    @Test("rsync transfers nothing the second time", .enabled(if: Machine.has("rsync")))
    func rsync() throws {
        try onHost { host in
            let source = host.local("source")
            try Self.makeTree(source, files: 300)
            try check(link(source + "/d0/f0", source + "/hard"))
            try setAttribute(source + "/d0/f1", "user.kind", [1, 2, 3])
            for round in 0..<3 {
                if round == 2 { try host.remount() }
                let text = try host.tool("rsync", "-aHAX", "--stats", source + "/", host("copy/"))
                let line = text.split(separator: "\n").first { $0.contains("regular files transferred:") }
                let count = line?.split(separator: " ").last.map { $0.filter { $0 != "," } }
                try #require(count == (round == 0 ? "300" : "0"), "\(text)")
            }
            try requireSameTree(source, host("copy"))
            try #require(try status(host("copy/hard")).st_nlink == 2)
            try #require(try attribute(host("copy/d0/f1"), "user.kind") == [1, 2, 3])
        }
    }

    @Test(
        "make builds a C project, and again only what depends on a changed header",
        .enabled(if: Machine.has("gcc") && Machine.has("make")))
    func make() throws {
        try onHost { host in
            let project = host("project")
            let sources = try Self.makeProject(project, files: 60, headers: 12)
            /// How many files were compiled.
            func build(sum: Int) throws -> Int {
                let made = try host.run(["make", "-j4", "-C", project])
                // make complains there of times that lie in the future, too.
                try #require(made.status == 0 && made.errors.isEmpty, "\(made.errors)\(made.text)")
                try #require(try host.tool(project + "/program") == "\(sum)\n")
                return made.text.split(separator: "\n").count { $0.contains(" -c ") }
            }
            let sum = (0..<60).reduce(0) { $0 + $1 * ($1 % 12) }
            try #require(try build(sum: sum) == 60)
            try host.tool("touch", project + "/h7.h")
            try #require(try build(sum: sum) == 5)
            // As an editor saves.
            try writeFile(project + "/h3.h~", Array("#define H3 1003\n".utf8))
            try check(rename(project + "/h3.h~", project + "/h3.h"))
            let changed = sum + 1000 * stride(from: 3, to: 60, by: 12).reduce(0, +)
            try #require(try build(sum: changed) == 5)
            try host.remount()
            try #require(try build(sum: changed) == 0)
            try host.tool("make", "-C", project, "clean")
            try #require(try paths(below: project) == sources)
        }
    }

    /// File i gives i times what the header that it shares with every twelfth holds; the program prints the sum.
    /// Returns the names of all that was written.
    private static func makeProject(_ root: String, files: Int, headers: Int) throws -> [String] {
        try check(mkdir(root, 0o755))
        for header in 0..<headers {
            try writeFile(root + "/h\(header).h", Array("#define H\(header) \(header)\n".utf8))
        }
        for file in 0..<files {
            let header = file % headers
            let text = "#include \"h\(header).h\"\nint f\(file)(void) { return \(file) * H\(header); }\n"
            try writeFile(root + "/f\(file).c", Array(text.utf8))
        }
        let declarations = (0..<files).map { "int f\($0)(void);\n" }.joined()
        let sum = (0..<files).map { "f\($0)()" }.joined(separator: " + ")
        let main = "#include <stdio.h>\n\(declarations)int main(void) { printf(\"%d\\n\", \(sum)); return 0; }\n"
        try writeFile(root + "/main.c", Array(main.utf8))
        let rules = """
            objects = $(patsubst %.c,%.o,$(wildcard f*.c))
            program: main.c $(objects)
            \tgcc -o $@ $^
            %.o: %.c
            \tgcc -MMD -c -o $@ $<
            clean:
            \trm -f program *.o *.d
            -include $(objects:.o=.d)

            """
        try writeFile(root + "/Makefile", Array(rules.utf8))
        return try paths(below: root)
    }

    /// Files of 0 to 20,000 bytes in twenty folders, with modes, times and symbolic links of all kinds, and owners where
    /// this is root.
    private static func makeTree(_ root: String, files: Int) throws {
        var random = SplitMix64(seed: UInt64(files))
        try check(mkdir(root, 0o755))
        for folder in 0..<20 { try check(mkdir(root + "/d\(folder)", 0o755)) }
        for file in 0..<files {
            let path = root + "/d\(file % 20)/f\(file / 20)"
            try writeFile(path, randomBytes(random.below(5) == 0 ? random.below(20_000) : random.below(900), seed: 3))
            if geteuid() == 0 { try check(chown(path, uid_t(random.below(1 << 31)), gid_t(random.below(70_000)))) }
            try check(chmod(path, [0o644, 0o600, 0o755, 0o400][random.below(4)]))
            if file % 50 == 0 { try check(symlink("f\(file)", path + ".link")) }
        }
        for path in try paths(below: root).reversed() {
            try setTime(root + "/" + path, 1_000_000_000 + random.below(700_000_000), random.below(1_000_000_000))
        }
    }
}
