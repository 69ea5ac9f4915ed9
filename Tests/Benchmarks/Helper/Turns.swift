import Glibc

/// A file closed in one folder, then one in the other, and so on: between two mounts of one volume the right to write
/// changes hands each time. Arguments: FOLDER FOLDER COUNT.
struct Turns {
    private let folders: [String]
    private let count: Int

    init(_ arguments: inout Arguments) throws(Failure) {
        folders = [try arguments.text(), try arguments.text()]
        count = try arguments.number()
    }

    /// Prints the seconds it took.
    func take() throws(Failure) {
        let start = now()
        try withBuffer(Pattern.pageSize) { (buffer) throws(Failure) in
            for number in 0..<count {
                let file = try File("\(folders[number % 2])/turn-\(number)", O_CREAT | O_EXCL | O_WRONLY)
                try file.write(UnsafeRawBufferPointer(buffer), at: 0)
                try file.close()
            }
        }
        print(now() - start)
    }
}
