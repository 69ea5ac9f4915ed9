import Glibc
import SystemPackage
import TestSupport
import Testing

@Suite("Random operations", .serialized, .enabled(if: Machine.canMount))
struct RandomTests {
    @Test("a volume holds what a model in memory holds, whatever is done to both")
    func operations() async throws {
        let count = setting("LANFS_OPERATIONS", default: 200_000)
        let seed = setting("LANFS_SEED", default: Int(UInt32.random(in: 0...UInt32.max)))
        print("random operations: again with LANFS_SEED=\(seed) LANFS_OPERATIONS=\(count)")
        try await onVolumes(2, limit: .seconds(120 + count / 100)) { host, volume in
            var run = Run(host, seed: UInt64(seed + volume))
            for number in 0..<count / 2 {
                do {
                    try run.step()
                    if number % 50_000 == 25_000 || number == count / 2 - 1 {
                        try run.compareAll()
                        try host.remount()
                        try run.compareAll()
                    }
                } catch let failure as Failure {
                    throw Failure("operation \(number) of LANFS_SEED=\(seed + volume): \(failure)")
                }
            }
        }
    }

    @Test("a second mount that reads along sees the same")
    func readingAlong() throws {
        let count = setting("LANFS_SHARED_OPERATIONS", default: 20_000)
        let seed = setting("LANFS_SEED", default: Int(UInt32.random(in: 0...UInt32.max)))
        print("operations with a reader: again with LANFS_SEED=\(seed) LANFS_SHARED_OPERATIONS=\(count)")
        try onTwoMounts(limit: .seconds(120 + count / 100)) { first, second in
            var run = Run(first, seed: UInt64(seed))
            for number in 0..<count {
                do {
                    try run.step()
                    if number % 200 == 0 { try run.compareSome(on: second) }
                    if number % 50_000 == 25_000 || number == count - 1 {
                        try run.compareAll()
                        try run.compareAll(on: second)
                    }
                } catch let failure as Failure {
                    throw Failure("operation \(number) of LANFS_SEED=\(seed): \(failure)")
                }
            }
        }
    }

    /// One run: the same operation on the volume and on the model, whose answers have to be equal.
    private struct Run {
        private var host: Host
        private var random: SplitMix64
        private var model = Model()
        private let pool: [UInt8]
        private static let largest = 300_000

        init(_ host: Host, seed: UInt64) {
            self.host = host
            random = SplitMix64(seed: seed)
            pool = randomBytes(1 << 20, seed: seed)
        }

        /// One of some 1,500: enough for every kind of meeting, few enough to be compared again and again.
        private mutating func path() -> String {
            let shallow = model.folders.filter { Self.depth($0) < 3 }
            let folder = shallow[random.below(shallow.count)]
            return (folder.isEmpty ? "" : folder + "/") + "n\(random.below(6))"
        }

        private static func depth(_ path: String) -> Int { path.utf8.count { $0 == 0x2f } }

        /// Small, of a page, around a chunk, or large.
        private mutating func size() -> Int {
            switch random.below(8) {
            case 0: 0
            case 1...3: random.below(300)
            case 4: 4096 * (1 + random.below(3))
            case 5: 32_767 + random.below(3)
            default: random.below(50_000)
            }
        }

        private mutating func bytes() -> ArraySlice<UInt8> {
            let start = random.below(1 << 19)
            return pool[start..<(start + size())]
        }

        mutating func step() throws {
            let path = path()
            let (host, full) = (host, host(path))
            switch random.below(120) {
            case 0..<24:
                let (bytes, offset) = (bytes(), random.below(3) == 0 ? random.below(Self.largest) : size())
                try same("write \(path) \(bytes.count) at \(offset)") {
                    try withFile(full, O_RDWR | O_CREAT) { try writeAll($0, bytes, at: offset) }
                } model: { model throws(Errno) in
                    try model.write(path, bytes, at: offset)
                }
            case 24..<34:
                let bytes = bytes()
                if case .file(let file) = model.nodes[path], model.contents[file, default: []].count > Self.largest {
                    return
                }
                try same("append \(path) \(bytes.count)") {
                    try withFile(full, O_WRONLY | O_CREAT | O_APPEND) { try writeAll($0, bytes) }
                } model: { model throws(Errno) in
                    try model.write(path, bytes, at: nil)
                }
            case 34..<50: try compareRange(path, at: random.below(Self.largest), 1 + size())
            case 50..<58:
                let size = random.below(2) == 0 ? size() : random.below(Self.largest)
                try same("truncate \(path) \(size)") {
                    try check(truncate(full, off_t(size)))
                } model: { model throws(Errno) in
                    try model.truncate(path, size)
                }
            case 58..<70:
                let other = self.path()
                // No folder goes deeper, or the tree would grow without end; into itself it cannot go anyway.
                let isDeeper = Self.depth(other) > Self.depth(path)
                if model.nodes[path] == .folder, isDeeper, !other.hasPrefix(path + "/") { return }
                try same("rename \(path) \(other)") {
                    try check(rename(full, host(other)))
                } model: { model throws(Errno) in
                    try model.rename(path, other)
                }
            case 70..<77:
                try same("unlink \(path)") {
                    try check(unlink(full))
                } model: { model throws(Errno) in
                    try model.unlink(path)
                }
            case 77..<83:
                let other = self.path()
                try same("link \(path) \(other)") {
                    try check(link(full, host(other)))
                } model: { model throws(Errno) in
                    try model.link(path, other)
                }
            case 83..<87:
                try same("mkdir \(path)") {
                    try check(mkdir(full, 0o755))
                } model: { model throws(Errno) in
                    try model.makeFolder(path)
                }
            case 87..<91:
                try same("rmdir \(path)") {
                    try check(rmdir(full))
                } model: { model throws(Errno) in
                    try model.removeFolder(path)
                }
            case 91..<95: try compareNames(model.folders[random.below(model.folders.count)])
            case 95..<99: try compareStatus(path)
            case 99:
                switch model.nodes[path] {
                case .folder, .file: try withFile(full, O_RDONLY) { _ = try check(fsync($0)) }
                case .link, nil: return
                }
            default: try rarerStep(path)
            }
        }

        private mutating func rarerStep(_ path: String) throws {
            let (host, full, other) = (host, host(path), self.path())
            switch random.below(8) {
            case 0..<2:
                let (offset, length) = (random.below(Self.largest), 1 + size())
                try same("punch \(path) \(length) at \(offset)") {
                    try withFile(full, O_RDWR) { try punchHole($0, offset, length) }
                } model: { model throws(Errno) in
                    try model.punch(path, offset..<offset + length)
                }
            case 2:
                let (offset, length) = (random.below(Self.largest), 1 + size())
                try same("allocate \(path) \(length) at \(offset)") {
                    try withFile(full, O_RDWR) { try fallocate($0, 0, offset, length) }
                } model: { model throws(Errno) in
                    try model.allocate(path, offset + length)
                }
            case 3: try compareSeeks(path, from: random.below(Self.largest))
            case 4:
                guard model.nodes[path] != .folder else { return }
                let (name, value) = ("user.n\(random.below(3))", Array(bytes().prefix(3000)))
                try same("set attribute \(name) of \(path)") {
                    try setAttribute(full, name, value)
                } model: { model throws(Errno) in
                    try model.setAttribute(path, name, value)
                }
            case 5:
                let target = "/nowhere/\(random.below(1 << 30))"
                try same("symlink \(path)") {
                    try check(symlink(target, full))
                } model: { model throws(Errno) in
                    try model.makeLink(path, to: target)
                }
            case 6:
                let hasFolder = model.nodes[path] == .folder || model.nodes[other] == .folder
                if hasFolder, Self.depth(path) != Self.depth(other) { return }
                try same("exchange \(path) \(other)") {
                    try exchange(full, host(other))
                } model: { model throws(Errno) in
                    if path != other { try model.exchange(path, other) }
                    else if model.nodes[path] == nil { throw .noSuchFileOrDirectory }
                }
            default:
                guard case .file(let source) = model.nodes[path], case .file(let target) = model.nodes[other],
                    source != target
                else { return }
                let (offset, place) = (random.below(Self.largest), random.below(Self.largest))
                let piece = try model.read(path, at: offset, 1 + size())
                try same("copy \(piece.count) from \(path) at \(offset) to \(other) at \(place)") {
                    try withFile(full, O_RDONLY) { source in
                        try withFile(host(other), O_WRONLY) { target in
                            try copyRange(from: source, at: offset, to: target, at: place, piece.count)
                        }
                    }
                } model: { model throws(Errno) in
                    try model.write(other, piece, at: place)
                }
            }
        }

        /// What is skipped as a hole has to be zeros.
        private func compareSeeks(_ path: String, from offset: Int) throws {
            guard case .file(let file) = model.nodes[path], let bytes = model.contents[file], offset < bytes.count else {
                return
            }
            try withFile(host(path), O_RDONLY) { descriptor in
                var data = bytes.count
                do { data = try seekData(descriptor, offset) } catch let error as Errno where error == .noSuchAddressOrDevice {}
                let hole = try seekHole(descriptor, offset)
                let isRight = data >= offset && data <= bytes.count && bytes[offset..<data].allSatisfy { $0 == 0 }
                guard isRight, hole >= offset, hole <= bytes.count, (data == offset) != (hole == offset),
                    hole == bytes.count || bytes[hole] == 0
                else { throw Failure("seek \(path) from \(offset): data at \(data), a hole at \(hole) of \(bytes.count)") }
            }
        }

        private func compareAttributes(_ path: String) throws {
            guard case .file(let file) = model.nodes[path] else { return }
            for (name, value) in model.attributes[file, default: [:]] {
                guard try attribute(host(path), name) == value else { throw Failure("attribute \(name) of \(path)") }
            }
        }

        /// The same outcome: both succeed, or both fail with the same error.
        private mutating func same(
            _ what: String, _ real: () throws -> Void, model change: (inout Model) throws(Errno) -> Void
        ) throws {
            var expected: Errno?
            do { try change(&model) } catch { expected = error }
            var found: Errno?
            do { try real() } catch let error as Errno { found = error }
            guard found == expected else {
                let words = [found, expected].map { $0.map { "\($0)" } ?? "success" }
                throw Failure("\(what): \(words[0]) instead of \(words[1])")
            }
        }

        private mutating func compareRange(_ path: String, at offset: Int, _ count: Int) throws {
            guard case .file = model.nodes[path] else { return try compareStatus(path) }
            let expected = try model.read(path, at: offset, count)
            let found = try withFile(host(path), O_RDONLY) { try read($0, at: offset, upTo: count) }
            guard found[...] == expected else {
                let place = zip(found, expected).enumerated().first { $0.element.0 != $0.element.1 }?.offset ?? -1
                let counts = "\(found.count) bytes instead of \(expected.count)"
                throw Failure("read \(path) at \(offset): \(counts), the first difference at \(place)")
            }
        }

        private func compareNames(_ folder: String) throws {
            let found = try names(in: host(folder)).map { String(decoding: $0, as: UTF8.self) }
            let expected = model.children(folder)
            guard found == expected else { throw Failure("names in '\(folder)': \(found) instead of \(expected)") }
        }

        private func compareStatus(_ path: String) throws {
            let status = try? status(host(path))
            switch (model.nodes[path], status) {
            case (nil, nil): return
            case (.folder?, let status?) where status.st_mode & S_IFMT == S_IFDIR:
                return
            case (.link(let link)?, let status?) where status.st_mode & S_IFMT == S_IFLNK:
                let target = try linkTarget(host(path))
                guard target == model.targets[link], Int(status.st_nlink) == model.links(.link(link)) else {
                    throw Failure("link \(path): to \(target), with \(status.st_nlink) links")
                }
            case (.file(let file)?, let status?) where status.st_mode & S_IFMT == S_IFREG:
                let (size, links) = (model.contents[file, default: []].count, model.links(.file(file)))
                guard Int(status.st_size) == size, Int(status.st_nlink) == links else {
                    let found = "size \(status.st_size) and \(status.st_nlink) links"
                    throw Failure("stat \(path): \(found) instead of \(size) and \(links)")
                }
            case (let expected, let status):
                let type = status.map { "type \($0.st_mode & S_IFMT)" } ?? "missing"
                throw Failure("stat \(path): \(type) instead of \(expected.map { "\($0)" } ?? "missing")")
            }
        }

        mutating func compareSome(on reader: Host) throws {
            let path = path()
            try compare(on: reader) { run in
                try run.compareStatus(path)
                try run.compareAttributes(path)
                if case .file = run.model.nodes[path] { try run.compareRange(path, at: 0, Self.largest * 2) }
            }
        }

        func compareAll(on reader: Host) throws {
            try compare(on: reader) { run in try run.compareAll() }
        }

        /// What nobody synced or closed is there within a second.
        private func compare(on reader: Host, _ body: (inout Run) throws -> Void) throws {
            var run = self
            run.host = reader
            var difference = ""
            let isSame = eventually(.seconds(30), every: 5_000) {
                do {
                    try body(&run)
                    return true
                } catch {
                    difference = "\(error)"
                    return false
                }
            }
            guard isSame else { throw Failure("on the second mount: \(difference)") }
        }

        mutating func compareAll() throws {
            for folder in model.folders { try compareNames(folder) }
            for path in model.paths {
                try compareStatus(path)
                try compareAttributes(path)
                if case .file = model.nodes[path] { try compareRange(path, at: 0, Self.largest * 2) }
            }
        }
    }
}
