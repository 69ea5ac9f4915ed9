import Glibc
import SystemPackage
import Testing

@testable import LanfsLocal

@Suite struct `Signs of life` {
    let folder: FilePath

    init() {
        var template = Array("/tmp/lanfs-local-XXXXXX".utf8CString)
        folder = FilePath(String(cString: mkdtemp(&template))).appending("signs")
    }

    @Test func `are found dead once nobody holds them, and not before`() throws {
        #expect(try LifeSign.dead(in: folder) == [])
        var first: LifeSign? = try LifeSign(folder.appending("first"))
        let second = try LifeSign(folder.appending("second"))
        #expect(try LifeSign.dead(in: folder) == [])
        #expect(first != nil)
        first = nil
        #expect(try LifeSign.dead(in: folder) == ["first"])
        #expect(try LifeSign.dead(in: folder) == ["first"], "looking changes nothing")
        try second.end()
        #expect(try LifeSign.dead(in: folder) == ["first"])
    }

    @Test func `of a killed process are dead`() throws {
        let path = folder.appending("child")
        _ = try LifeSign(folder.appending("other"))
        // A shell that takes the same lock stands for another session.
        let ready = folder.appending("ready")
        let script = "exec 9>>'\(path)'; flock 9; touch '\(ready)'; exec sleep 60"
        var pid: pid_t = 0
        let words: [String] = ["sh", "-c", script]
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { (word: String) in strdup(word) }
        arguments.append(nil)
        defer { for argument in arguments { free(argument) } }
        #expect(posix_spawnp(&pid, "sh", nil, nil, &arguments, environ) == 0)
        for _ in 0..<500 where access(ready.string, F_OK) != 0 { usleep(10_000) }
        #expect(try !LifeSign.dead(in: folder).contains("child"))
        kill(pid, SIGKILL)
        waitpid(pid, nil, 0)
        #expect(try LifeSign.dead(in: folder).contains("child"))
    }
}
