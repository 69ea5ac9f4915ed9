import Glibc
import SystemPackage
import Testing

@Suite("Open files of a mounted volume", .serialized, .enabled(if: Fuse.isAvailable))
struct FileTests {
    private static let transfer = 1 << 20

    /// Bytes that differ from page to page and from piece to piece.
    private static func pattern(_ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 12 &+ $0 >> 17) }
    }

    @Test("what is written is read back, around the limits of one request", arguments: Answers.allCases)
    func sizes(_ answers: Answers) async throws {
        try await mounted(answers) { m in
            let sizes = [0, 1, 4095, 4096, 4097, Self.transfer - 1, Self.transfer, Self.transfer + 1, 3_333_333]
            for size in sizes {
                let bytes = Self.pattern(size)
                try writeFile(m("f"), bytes)
                #expect(try status(m("f")).st_size == size)
                #expect(try contents(m("f")) == bytes)
                // Past the page cache: many pieces in one answer.
                try withFile(m("f"), O_RDONLY | directFlag) { file in
                    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4 << 20, alignment: 4096)
                    defer { buffer.deallocate() }
                    let count = try check(pread(file, buffer.baseAddress, buffer.count, 0))
                    #expect(count == size && buffer[..<count].elementsEqual(bytes))
                }
            }
        }
    }

    @Test("writes land where they are aimed, appends at the end", arguments: Answers.allCases)
    func places(_ answers: Answers) async throws {
        try await mounted(answers) { m in
            try writeFile(m("f"), [1, 2, 3, 4, 5])
            try withFile(m("f"), O_RDWR) { file in
                try check(pwrite(file, [9, 9] as [UInt8], 2, 1))
                #expect(try readAll(file) == [1, 9, 9, 4, 5])
                try check(ftruncate(file, 3))
                try check(fsync(file))
                try check(fdatasync(file))
            }
            try withFile(m("f"), O_WRONLY | O_APPEND) { try check(write($0, [7] as [UInt8], 1)) }
            #expect(try contents(m("f")) == [1, 9, 9, 7])
            try check(truncate(m("f"), 6))
            #expect(try contents(m("f")) == [1, 9, 9, 7, 0, 0])
            try withFile(m("f"), O_WRONLY | O_TRUNC | O_SYNC) { try check(write($0, [8] as [UInt8], 1)) }
            #expect(try contents(m("f")) == [8])
            try withFile(m.path, O_RDONLY | O_DIRECTORY) { try check(fsync($0)) }
        }
    }

    @Test("O_EXCL refuses what exists, a plain O_CREAT opens it", arguments: Answers.allCases)
    func exclusive(_ answers: Answers) async throws {
        try await mounted(answers) { m in
            try withFile(m("f"), O_WRONLY | O_CREAT | O_EXCL) { try check(write($0, [1] as [UInt8], 1)) }
            #expect(failure { try withFile(m("f"), O_WRONLY | O_CREAT | O_EXCL) { _ in } } == .fileExists)
            try withFile(m("f"), O_WRONLY | O_CREAT) { try check(pwrite($0, [2] as [UInt8], 1, 1)) }
            #expect(try contents(m("f")) == [1, 2])
        }
    }

    @Test("a file without a name can get one", arguments: Answers.allCases)
    func unnamed(_ answers: Answers) async throws {
        try await mounted(answers) { m in
            try withFile(m.path, O_RDWR | unnamedFlag, 0o640) { file in
                try check(write(file, [5, 6] as [UInt8], 2))
                #expect(try names(in: m.path).isEmpty)
                try check(linkat(AT_FDCWD, "/proc/self/fd/\(file)", AT_FDCWD, m("named"), AT_SYMLINK_FOLLOW))
            }
            #expect(try contents(m("named")) == [5, 6])
            #expect(try status(m("named")).st_mode == S_IFREG | 0o640)
        }
    }

    @Test("a removed file lives as long as it is open", arguments: Answers.allCases)
    func orphans(_ answers: Answers) async throws {
        try await mounted(answers) { m in
            try writeFile(m("f"), [1, 2, 3])
            try withFile(m("f"), O_RDWR) { file in
                try check(unlink(m("f")))
                #expect(try readAll(file) == [1, 2, 3])
                try check(pwrite(file, [4] as [UInt8], 1, 3))
                #expect(try readAll(file) == [1, 2, 3, 4])
                var status = stat()
                try check(fstat(file, &status))
                #expect(status.st_nlink == 0 && status.st_size == 4)
            }
        }
    }

    @Test("holes are made, found and filled", arguments: Answers.allCases)
    func holes(_ answers: Answers) async throws {
        try await mounted(answers) { m in
            // The fixture keeps data in pieces of this size.
            let piece = 128 * 1024
            try withFile(m("f"), O_RDWR | O_CREAT) { file in
                try check(pwrite(file, Self.pattern(3 * piece), 3 * piece, 0))
                try allocate(file, AllocateMode.punchHole | AllocateMode.keepSize, piece, piece)
                let expected = Self.pattern(3 * piece).enumerated().map {
                    $0.offset / piece == 1 ? 0 : $0.element
                }
                #expect(try readAll(file) == expected)
                let (data, hole) = (Int32(3), Int32(4))
                #expect(try check(Int(lseek(file, 0, hole))) == piece)
                #expect(try check(Int(lseek(file, off_t(piece), data))) == 2 * piece)
                #expect(try check(Int(lseek(file, off_t(2 * piece), hole))) == 3 * piece)
                #expect(failure { try check(Int(lseek(file, off_t(3 * piece), data))) } == .noSuchAddressOrDevice)
                try allocate(file, 0, 3 * piece, piece)
                #expect(try status(m("f")).st_size == 4 * piece)
                try allocate(file, AllocateMode.keepSize, 4 * piece, piece)
                #expect(try status(m("f")).st_size == 4 * piece)
                try allocate(file, AllocateMode.zero, 0, 10)
                #expect(try readAll(file).prefix(10).allSatisfy { $0 == 0 })
                #expect(failure { try allocate(file, AllocateMode.collapse, 0, piece) } == .notSupported)
            }
        }
    }

    @Test("ranges are copied inside the volume", arguments: Answers.allCases)
    func copies(_ answers: Answers) async throws {
        try await mounted(answers) { m in
            let bytes = Self.pattern(500_000)
            try writeFile(m("a"), bytes)
            try withFile(m("a"), O_RDONLY) { source in
                try withFile(m("b"), O_RDWR | O_CREAT) { target in
                    let copied = try copyRange(source, 1000, target, 10, 400_000)
                    #expect(copied == 400_000)
                    #expect(try readAll(target) == Array(repeating: 0, count: 10) + bytes[1000..<401_000])
                    #expect(try copyRange(source, 500_000, target, 0, 10) == 0)
                }
            }
        }
    }

    @Test("mapped files are read and written", arguments: Answers.allCases)
    func maps(_ answers: Answers) async throws {
        try await mounted(answers) { m in
            try writeFile(m("f"), Self.pattern(10_000))
            try withFile(m("f"), O_RDWR) { file in
                let map = mmap(nil, 10_000, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
                let bytes = UnsafeMutableRawBufferPointer(start: map, count: 10_000)
                #expect(bytes.elementsEqual(Self.pattern(10_000)))
                bytes[5000] = 0xee
                try check(msync(map, 10_000, MS_SYNC))
                try check(munmap(map, 10_000))
            }
            try withFile(m("f"), O_RDONLY | directFlag) { file in
                let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 16384, alignment: 4096)
                defer { buffer.deallocate() }
                try check(pread(file, buffer.baseAddress, 16384, 0))
                #expect(buffer[5000] == 0xee)
            }
        }
    }

    @Test("eight threads at once on files of their own and one they share", arguments: Answers.allCases)
    func hammer(_ answers: Answers) async throws {
        let m = try await Mounted(answers)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<8 {
                group.addTask { try await onThread { try Self.work(worker, m) } }
            }
            try await group.waitForAll()
        }
        let left = try await onThread { try names(in: m.path) }
        #expect(left == [Array("shared".utf8)])
        try await m.finish()
    }

    private static func work(_ worker: Int, _ m: Mounted) throws {
        let page = [UInt8](repeating: UInt8(worker + 1), count: 4096)
        for round in 0..<60 {
            let name = m("w\(worker)-\(round)")
            try writeFile(name, page)
            #expect(try contents(name) == page)
            try check(rename(name, name + "x"))
            try withFile(m("shared"), O_RDWR | O_CREAT) { file in
                try check(pwrite(file, page, 4096, off_t(worker * 4096)))
                let read = try readAll(file, at: worker * 4096, chunk: 4096).prefix(4096)
                #expect(read.elementsEqual(page))
            }
            _ = try names(in: m.path)
            try check(unlink(name + "x"))
        }
    }
}

#if arch(x86_64)
    let directFlag: Int32 = 0o40000
    let unnamedFlag: Int32 = 0o20200000
#else
    let directFlag: Int32 = 0o200000
    let unnamedFlag: Int32 = 0o20040000
#endif
