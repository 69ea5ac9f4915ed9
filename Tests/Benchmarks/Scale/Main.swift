import Glibc
import SystemPackage

/// What many blocks and many files cost. Nothing is asserted by time.
///
///     lanfs-scale blocks LANFS FOLDER COUNT
///     lanfs-scale files LANFS FOLDER COUNT
///
/// Starts `LANFS serve` with its data in FOLDER and is its client, over the wire as any other.
@main
enum Main {
    static func main() async {
        do {
            let words = CommandLine.arguments
            guard words.count == 5, let count = Int(words[4]), count > 0 else {
                throw Failure("usage: lanfs-scale blocks|files LANFS FOLDER COUNT")
            }
            let folder = FilePath(words[3])
            let server = try ServerProcess(words[2], folder: folder.appending("data").string)
            defer { server.end() }
            switch words[1] {
            case "blocks": try await Blocks(server).run(count)
            case "files": try await Files(server, home: folder.appending("home")).run(count)
            default: throw Failure("measures blocks or files, not \(words[1])")
            }
        } catch {
            let line = Array("lanfs-scale: \(error)\n".utf8)
            _ = write(STDERR_FILENO, line, line.count)
            exit(1)
        }
    }
}

struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
