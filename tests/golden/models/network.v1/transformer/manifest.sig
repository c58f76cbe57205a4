weir-sign1
wQÍ©šYQ"Á¼QŽ´Â´Ah8ßÑ»º0)FÐ)ÍBÒš@E@´¨ÖDmBÈÏVº²SÊ·^¬¸æíã(g¼QÈJÈÖ