import Glibc
import Testing

extension Posix {
    @Suite("posix_fallocate") struct Fallocate {
        @Test("a file grows to hold the range, with zeros, and never shrinks")
        func grows() throws {
            let here = try Folder()
            for (offset, length, size) in [(0, 1, 3), (0, 3, 3), (2, 5, 7), (100_000, 1, 100_001), (10, 20, 100_001)] {
                if offset == 0 { try writeFile(here("file"), [1, 2, 3]) }
                try withFile(here("file"), O_RDWR) {
                    expect(OK, returned(posix_fallocate($0, offset, length)), "\(offset) \(length)")
                }
                let expected = [1, 2, 3] + [UInt8](repeating: 0, count: size - 3)
                #expect(try contents(here("file")) == expected, "\(offset) \(length)")
            }
        }

        @Test("only ranges that there are, of files that are open for writing")
        func refuses() throws {
            let here = try Folder()
            try writeFile(here("file"), [1, 2, 3])
            try withFile(here("file"), O_RDWR) { file in
                for (offset, length, expected) in [
                    (0, 0, EINVAL), (-1, 5, EINVAL), (0, -1, EINVAL), (Int.max, 1, EFBIG), (1, Int.max, EFBIG),
                ] {
                    expect(expected, returned(posix_fallocate(file, offset, length)), "\(offset) \(length)")
                }
            }
            try withFile(here("file"), O_RDONLY) { expect(EBADF, returned(posix_fallocate($0, 0, 10))) }
            expect(EBADF, returned(posix_fallocate(-1, 0, 10)))
            try Kind.fifo.make(here("fifo"))
            try withFile(here("fifo"), O_RDWR) { expect(ESPIPE, returned(posix_fallocate($0, 0, 10))) }
            #expect(try contents(here("file")) == [1, 2, 3])
        }

        @Test("the times of the content move, also where the file is as large already, and a refusal moves none")
        func times() throws {
            let here = try Folder()
            try writeFile(here("file"), [1, 2, 3])
            try withFile(here("file"), O_RDWR) { file in
                for length in [9_000, 10] {
                    try expectMoves([(here("file"), .content), (here.path, [])], "\(length)") {
                        expect(OK, returned(posix_fallocate(file, 0, length)))
                    }
                }
                try expectMoves([(here("file"), [])]) { expect(EINVAL, returned(posix_fallocate(file, 0, 0))) }
            }
        }
    }
}
