import Glibc

/// Many small files in folders of a hundred. Arguments: FOLDER COUNT SEED.
struct SmallFiles {
    private static let size = Pattern.pageSize
    private static let perFolder = 100

    private let folder: String
    private let count: Int
    private let pattern: Pattern

    init(_ arguments: inout Arguments) throws(Failure) {
        folder = try arguments.text()
        count = try arguments.number()
        pattern = Pattern(seed: try arguments.number())
    }

    private func folder(of file: Int) -> String { "\(folder)/\(file / Self.perFolder)" }
    private func path(of file: Int) -> String { "\(folder(of: file))/file-\(file)" }

    /// Prints the seconds it took.
    func create() throws(Failure) {
        let start = now()
        guard mkdir(folder, 0o755) == 0 else { throw Failure("mkdir", folder) }
        try withBuffer(Self.size) { (buffer) throws(Failure) in
            for number in 0..<count {
                if number % Self.perFolder == 0 {
                    guard mkdir(folder(of: number), 0o755) == 0 else { throw Failure("mkdir", folder(of: number)) }
                }
                pattern.fill(buffer, at: number * Self.size)
                let file = try File(path(of: number), O_CREAT | O_EXCL | O_WRONLY)
                try file.write(UnsafeRawBufferPointer(buffer), at: 0)
                try file.close()
            }
        }
        print(now() - start)
    }

    /// Opens, reads, compares and closes each; prints the seconds it took.
    func read() throws(Failure) {
        let start = now()
        try withBuffer(2 * Self.size) { (buffer) throws(Failure) in
            for number in 0..<count {
                let file = try File(path(of: number), O_RDONLY)
                guard try file.read(into: buffer, at: 0) == Self.size,
                    pattern.matches(UnsafeRawBufferPointer(rebasing: buffer[..<Self.size]), at: number * Self.size)
                else { throw Failure("\(file.path) has wrong bytes") }
                try file.close()
            }
        }
        print(now() - start)
    }

    /// Prints the seconds it took.
    func delete() throws(Failure) {
        let start = now()
        for number in 0..<count {
            guard unlink(path(of: number)) == 0 else { throw Failure("unlink", path(of: number)) }
        }
        for number in stride(from: 0, to: count, by: Self.perFolder) {
            guard rmdir(folder(of: number)) == 0 else { throw Failure("rmdir", folder(of: number)) }
        }
        guard rmdir(folder) == 0 else { throw Failure("rmdir", folder) }
        print(now() - start)
    }
}
