weir-sign1
wQÍ©šYQ"Gs»Æˆ›%™?é&SiáC+ŒKgFj)N/KÜŽÐ+Û¿tIÖç6x°ôó¿„ë—S×ž
8˜Yë“Ç‘?
