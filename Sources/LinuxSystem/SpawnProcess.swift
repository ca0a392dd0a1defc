internal import CLinux
internal import Glibc
internal import SystemPackage

/// A program that was started, as our child: reap it with ``Pidfd/reap()``.
package struct SpawnedProcess: ~Copyable, Sendable {
  package let pid: Int32
  package let pidfd: Pidfd
}

/// Starts a program with exactly the descriptors named, without copying the daemon's memory (ARCHITECTURE 8).
///
/// The calling OS thread waits until the program has begun (some 0.3 ms): call it from a ``BlockingPool``. The program
/// starts with default signal dispositions and an empty mask, and with the caller's working directory.
/// - Parameters:
///   - path: absolute; searched for nowhere.
///   - arguments: argv, with the name in front.
///   - environment: `KEY=value`.
///   - descriptors: what becomes which number; at most 64, targets distinct. 0, 1 and 2 are /dev/null unless named.
///   - cgroup: where it is born; nil: where the daemon is.
///   - newSession: whether it leads a session of its own (setsid(2)).
/// - Throws: which step failed, as `call`: `clone3`, `join cgroup`, `setsid`, `dup2`, `close_range`, `execve`.
package func spawnProcess(
  path: String, arguments: [String], environment: [String], descriptors: [(source: Int32, target: Int32)],
  cgroup: Cgroup?, newSession: Bool
) throws(SystemCallError) -> SpawnedProcess {
  precondition(Set(descriptors.map(\.target)).count == descriptors.count, "two descriptors with one number")
  precondition(descriptors.allSatisfy { $0.source >= 0 && $0.target >= 0 }, "not a descriptor")
  guard (arguments + environment + [path]).allSatisfy({ !$0.utf8.contains(0) }) else {
    throw SystemCallError(call: "execve", errno: .invalidArgument, subject: "\(path): a string with a zero byte")
  }
  let null = try OwnedFD.open("/dev/null", flags: O_RDWR)
  let birthplace = try Birthplace(cgroup)
  var result = clinux_spawn_result()
  var pidfd: Int32 = -1
  let pid = withCStrings(arguments) { argv in
    withCStrings(environment) { envp in
      path.withCString { path in
        descriptors.map(\.source).withUnsafeBufferPointer { sources in
          descriptors.map(\.target).withUnsafeBufferPointer { targets in
            birthplace.withDescriptors { tasks, unified in
              null.withRawDescriptor { null in
                var spawn = clinux_spawn(
                  path: path, argv: argv, envp: envp, sources: sources.baseAddress, targets: targets.baseAddress,
                  descriptor_count: Int32(sources.count), task_files: tasks.baseAddress,
                  task_file_count: Int32(tasks.count), unified_cgroup: unified, null_descriptor: null,
                  new_session: newSession ? 1 : 0)
                return clinux_spawn_process(&spawn, &pidfd, &result)
              }
            }
          }
        }
      }
    }
  }
  guard pid > 0 else { throw spawnError(result, path: path, descriptors: descriptors, birthplace: birthplace) }
  return SpawnedProcess(pid: pid, pidfd: Pidfd(owning: OwnedFD(owning: pidfd), pid: pid))
}

private func spawnError(
  _ result: clinux_spawn_result, path: String, descriptors: [(source: Int32, target: Int32)],
  birthplace: Birthplace
) -> SystemCallError {
  let (call, subject) =
    switch UInt32(bitPattern: result.step) {
    case CLINUX_SPAWN_STACK.rawValue: ("mmap", "a stack for \(path)")
    case CLINUX_SPAWN_SETSID.rawValue: ("setsid", path)
    case CLINUX_SPAWN_CGROUP.rawValue: ("join cgroup", birthplace.name(of: Int(result.index)))
    case CLINUX_SPAWN_DESCRIPTORS.rawValue: ("dup2", "descriptors \(descriptors) for \(path)")
    case CLINUX_SPAWN_CLOSE_RANGE.rawValue: ("close_range", path)
    case CLINUX_SPAWN_EXEC.rawValue: ("execve", path)
    default: ("clone3", path)
    }
  return SystemCallError(call: call, errno: Errno(rawValue: result.error), subject: subject)
}

/// The open files of a cgroup that a child joins.
///
/// In a v1 hierarchy the child writes "0" to `tasks`, not to `cgroup.procs`: for a single thread that moves itself the
/// kernel skips its global lock, whose writer waits for an RCU grace period (measured: 20-90 us instead of 6-15 ms). A
/// v2 tree is joined by being born there.
private struct Birthplace {
  private let taskPaths: [String]
  private let taskFiles: [SharedFD]
  private let unified: SharedFD?

  init(_ cgroup: Cgroup?) throws(SystemCallError) {
    taskPaths = cgroup?.joinDirectories.map { "\($0)/tasks" } ?? []
    var files: [SharedFD] = []
    for path in taskPaths { files.append(SharedFD(try OwnedFD.open(path, flags: O_WRONLY))) }
    taskFiles = files
    if let directory = cgroup?.unifiedDirectory {
      unified = SharedFD(try OwnedFD.open(directory, flags: OpenFlag.path | O_DIRECTORY))
    } else {
      unified = nil
    }
  }

  func withDescriptors<R>(_ body: (UnsafeBufferPointer<Int32>, Int32) -> R) -> R {
    withExtendedLifetime((taskFiles, unified)) {
      taskFiles.map(\.raw).withUnsafeBufferPointer { body($0, unified?.raw ?? -1) }
    }
  }

  func name(of index: Int) -> String {
    taskPaths.indices.contains(index) ? taskPaths[index] : "cgroup"
  }
}

/// A null-terminated array of C strings in one block, for the time of `body`.
private func withCStrings<R>(
  _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> R
) -> R {
  var bytes: [CChar] = []
  var offsets: [Int] = []
  for string in strings {
    offsets.append(bytes.count)
    bytes.append(contentsOf: string.utf8.map { CChar(bitPattern: $0) })
    bytes.append(0)
  }
  bytes.append(0)  // so that there is an address even for no strings
  return bytes.withUnsafeMutableBufferPointer { block in
    var pointers: [UnsafeMutablePointer<CChar>?] = offsets.map { offset in block.baseAddress.map { $0 + offset } }
    pointers.append(nil)
    return pointers.withUnsafeBufferPointer { array in
      guard let first = array.baseAddress else { preconditionFailure("an array with an element has an address") }
      return body(first)
    }
  }
}
