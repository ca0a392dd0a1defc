import CLinux

/// Two buffers shared by everything that reads and writes, there only while something is going on.
final class Scratch {
  /// As much as a pipe holds.
  static let inputSize = 64 << 10
  static let outputSize = 128 << 10

  private var inputBase: UnsafeMutableRawPointer?
  private var outputBase: UnsafeMutableRawPointer?

  /// For one read.
  var input: UnsafeMutableRawBufferPointer {
    let base = inputBase ?? UnsafeMutableRawPointer.allocate(byteCount: Scratch.inputSize, alignment: 16)
    inputBase = base
    return UnsafeMutableRawBufferPointer(start: base, count: Scratch.inputSize)
  }

  /// For the records made of one read.
  var output: UnsafeMutableRawBufferPointer {
    let base = outputBase ?? UnsafeMutableRawPointer.allocate(byteCount: Scratch.outputSize, alignment: 16)
    outputBase = base
    return UnsafeMutableRawBufferPointer(start: base, count: Scratch.outputSize)
  }

  /// Gives everything back to the kernel.
  func release() {
    inputBase?.deallocate()
    outputBase?.deallocate()
    inputBase = nil
    outputBase = nil
    malloc_trim(0)
  }
}
