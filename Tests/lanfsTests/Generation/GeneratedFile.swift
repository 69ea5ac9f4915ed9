import Glibc
import Testing

/// A file of the repository that is made from the command tables, wholly or between two marks.
/// `LANFS_REGENERATE=1 swift test --filter lanfsTests` writes them anew; otherwise tests compare.
enum GeneratedFile {
    static let isRegenerating = getenv("LANFS_REGENERATE").map { String(cString: $0) } == "1"

    /// The repository's folder, four levels above this file.
    static let root = String(
        #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(4).joined(separator: "/"))

    static func path(_ name: String) -> String { "\(root)/\(name)" }

    static func read(_ name: String) throws -> String {
        guard let file = fopen(path(name), "r") else { throw Failure("\(name) cannot be read: \(errno)") }
        defer { fclose(file) }
        return readAll(file)
    }

    /// Compares the file with what it should be, or makes it so.
    static func check(_ name: String, equals expected: String) throws {
        if isRegenerating {
            guard let file = fopen(path(name), "w") else { throw Failure("\(name) cannot be written: \(errno)") }
            fputs(expected, file)
            fclose(file)
        }
        let actual = try read(name)
        let difference = firstDifference(actual, expected)
        #expect(
            difference == nil,
            "\(name) differs from the tables; run it with LANFS_REGENERATE=1: \(difference ?? "")"
        )
    }

    private static func firstDifference(_ actual: String, _ expected: String) -> String? {
        let left = actual.split(separator: "\n", omittingEmptySubsequences: false)
        let right = expected.split(separator: "\n", omittingEmptySubsequences: false)
        for index in 0..<max(left.count, right.count) {
            let have = index < left.count ? left[index] : "(end)"
            let want = index < right.count ? right[index] : "(end)"
            if have != want { return "line \(index + 1) is '\(have)' and should be '\(want)'" }
        }
        return nil
    }
}

struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

private func readAll(_ file: UnsafeMutablePointer<FILE>) -> String {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
        let count = fread(&buffer, 1, buffer.count, file)
        if count == 0 { break }
        bytes += buffer[..<count]
    }
    return String(decoding: bytes, as: UTF8.self)
}

/// Runs a script in a shell and gives back its status and all it wrote.
func shell(_ script: String, with shell: String = "sh") throws -> (status: Int32, output: String) {
    guard let pipe = popen("\(shell) -c \(ShellText.quoted(script)) 2>&1", "re") else {
        throw Failure("popen: \(errno)")
    }
    let output = readAll(pipe)
    let status = pclose(pipe)
    return (status & 0x7F == 0 ? status >> 8 & 0xFF : -1, output)
}

/// Whether a program is installed; tests that need one say so and skip.
func isInstalled(_ program: String) -> Bool {
    let found = (try? shell("command -v \(program)").status) == 0
    if !found { print("skipped: \(program) is not installed") }
    return found
}
