import Glibc
import SystemPackage
import Testing

@Suite("Names in a mounted volume", .serialized, .enabled(if: Fuse.isAvailable))
struct NameTests {
    @Test("folders, files, links and devices are made, listed and removed", arguments: Answers.allCases)
    func kinds(_ answers: Answers) async throws {
        try await mounted(answers) { m in
            try check(mkdir(m("folder"), 0o750))
            #expect(try status(m("folder")).st_mode == S_IFDIR | 0o750)
            #expect(try status(m("")).st_nlink == 3)
            try writeFile(m("folder/file"), Array("text".utf8))
            try check(link(m("folder/file"), m("second")))
            #expect(try status(m("second")).st_nlink == 2)
            let inode = try status(m("folder/file")).st_ino
            #expect(try status(m("second")).st_ino == inode)
            try check(symlink("folder/file", m("pointer")))
            #expect(try contents(m("pointer")) == Array("text".utf8))
            #expect(try status(m("pointer")).st_size == 11)
            try check(mkfifo(m("fifo"), 0o600))
            #expect(try status(m("fifo")).st_mode == S_IFIFO | 0o600)
            if Fuse.isRoot {
                try check(mknod(m("device"), S_IFCHR | 0o640, 0x12_34))
                #expect(try status(m("device")).st_rdev == 0x12_34)
            }
            #expect(try names(in: m("folder")) == [Array("file".utf8)])
            #expect(failure { try check(rmdir(m("folder"))) } == .directoryNotEmpty)
            #expect(failure { try check(unlink(m("folder"))) } == .isDirectory)
            #expect(failure { try check(mkdir(m("folder"), 0o755)) } == .fileExists)
            try check(unlink(m("folder/file")))
            try check(rmdir(m("folder")))
            #expect(try contents(m("second")) == Array("text".utf8))
            #expect(failure { _ = try status(m("folder")) } == .noSuchFileOrDirectory)
        }
    }

    @Test("rename replaces, refuses to replace, and exchanges", arguments: Answers.allCases)
    func renames(_ answers: Answers) async throws {
        try await mounted(answers) { m in
            try writeFile(m("a"), [1])
            try writeFile(m("b"), [2])
            try check(rename(m("a"), m("b")))
            #expect(try contents(m("b")) == [1])
            #expect(failure { _ = try status(m("a")) } == .noSuchFileOrDirectory)
            try writeFile(m("a"), [3])
            #expect(failure { try rename(m("a"), m("b"), flags: RenameFlag.noReplace) } == .fileExists)
            #expect(try contents(m("a")) == [3])
            #expect(try contents(m("b")) == [1])
            try rename(m("a"), m("b"), flags: RenameFlag.exchange)
            #expect(try contents(m("a")) == [1])
            #expect(try contents(m("b")) == [3])
            try rename(m("a"), m("c"), flags: RenameFlag.noReplace)
            #expect(failure { try rename(m("c"), m("nothing"), flags: RenameFlag.exchange) } == .noSuchFileOrDirectory)
            #expect(failure { try rename(m("c"), m("d"), flags: RenameFlag.whiteout) } == .invalidArgument)
            try check(mkdir(m("d"), 0o755))
            try check(mkdir(m("e"), 0o755))
            try writeFile(m("e/inside"), [])
            #expect(failure { try check(rename(m("d"), m("e"))) } == .directoryNotEmpty)
            #expect(failure { try check(rename(m("c"), m("d"))) } == .isDirectory)
            #expect(failure { try check(rename(m("d"), m("c"))) } == .notDirectory)
            try check(rename(m("e"), m("d")))
            #expect(try names(in: m("d")) == [Array("inside".utf8)])
        }
    }

    @Test("names have 1 to 255 bytes in any encoding", arguments: Answers.allCases)
    func anyBytes(_ answers: Answers) async throws {
        try await mounted(answers) { m in
            let longest = String(repeating: "x", count: 255)
            try writeFile(m(longest), [7])
            #expect(try contents(m(longest)) == [7])
            #expect(failure { _ = try status(m(longest + "x")) } == .fileNameTooLong)
            // Every byte but NUL and the slash, not valid UTF-8 as a whole.
            let strange = (1...255).filter { $0 != 47 }.map { UInt8($0) }
            let path = Array(m.path.utf8) + [47] + strange + [0]
            try path.withUnsafeBufferPointer { bytes in
                try bytes.withMemoryRebound(to: CChar.self) { path in
                    let start = try #require(path.baseAddress)
                    try check(close(check(creat(start, 0o644))))
                }
            }
            #expect(try sorted(names(in: m.path)) == sorted([strange, Array(longest.utf8)]))
        }
    }

    @Test("a folder of 10,000 names is listed whole through small buffers", arguments: Answers.allCases)
    func largeFolder(_ answers: Answers) async throws {
        try await mounted(answers) { m in
            let count = 10_000
            for number in 0..<count { try check(close(check(creat(m("file \(number)"), 0o644)))) }
            let expected = sorted((0..<count).map { Array("file \($0)".utf8) })
            #expect(try sorted(names(in: m.path)) == expected)
            // Straight from the kernel, a page at a time, and again after a rewind.
            try withFile(m.path, O_RDONLY | O_DIRECTORY) { directory in
                for _ in 0..<2 {
                    try check(Int(lseek(directory, 0, SEEK_SET)))
                    #expect(try sorted(rawNames(directory, buffer: 4096)) == expected)
                }
            }
        }
    }

    @Test("entries that a listing had no room for are not kept as known", arguments: [1, 17, 100, 255])
    func longNames(_ length: Int) async throws {
        try await mounted { m in
            let expected = (0..<200).map {
                Array(String("\($0)").utf8) + Array(repeating: 120, count: max(0, length - 3))
            }
            for name in expected { try check(close(check(creat(m(String(decoding: name, as: UTF8.self)), 0o644)))) }
            let listed = try withFile(m.path, O_RDONLY | O_DIRECTORY) { try rawNames($0, buffer: 4096) }
            #expect(sorted(listed) == sorted(expected))
        }
    }

    @Test("removing while listing neither skips nor repeats what stays")
    func removalWhileListing() async throws {
        try await mounted { m in
            for number in 0..<2000 { try check(close(check(creat(m("f\(number)"), 0o644)))) }
            guard let directory = opendir(m.path) else { throw Errno(rawValue: errno) }
            defer { closedir(directory) }
            var seen: [String] = []
            while let entry = readdir(directory) {
                let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                    String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
                }
                guard name.hasPrefix("f") else { continue }
                seen.append(name)
                try check(unlink(m(name)))
            }
            #expect(seen.count == 2000 && Set(seen).count == 2000)
            #expect(try names(in: m.path).isEmpty)
        }
    }
}
